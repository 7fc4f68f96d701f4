//! The threads of a team, on Unix straight from the system: the standard library's take some bytes for each by ways of their own,
//! past the program's allocator, and end the process when the system refuses them. A library must give an error instead.

use std::io;

/// Bytes of a thread's stack, of which it touches a few. A system that puts more than that of the program's own thread-local
/// variables there gets the larger one.
const STACKS: [usize; 2] = [256 << 10, 2 << 20];

/// A running thread, which must be joined.
#[cfg(all(unix, not(loom)))]
pub(super) struct Thread {
    id: system::Id,
}

#[cfg(all(unix, not(loom)))]
mod system {
    use std::ffi::c_void;

    /// `pthread_t`: an integer or a pointer.
    pub type Id = usize;
    /// `pthread_attr_t`, with room for that of any system.
    pub type Attributes = [usize; 16];
    pub type Start = extern "C" fn(*mut c_void) -> *mut c_void;

    // SAFETY: the declarations are those of POSIX, and of pthread_setname_np(3) of Linux.
    unsafe extern "C" {
        pub fn pthread_attr_init(attributes: *mut Attributes) -> i32;
        pub fn pthread_attr_setstacksize(attributes: *mut Attributes, bytes: usize) -> i32;
        pub fn pthread_attr_destroy(attributes: *mut Attributes) -> i32;
        pub fn pthread_create(
            id: *mut Id,
            attributes: *const Attributes,
            start: Start,
            data: *mut c_void,
        ) -> i32;
        pub fn pthread_join(id: Id, result: *mut *mut c_void) -> i32;
        #[cfg(target_os = "linux")]
        pub fn pthread_setname_np(id: Id, name: *const std::ffi::c_char) -> i32;
    }
}

#[cfg(all(unix, not(loom)))]
impl Thread {
    /// Starts thread `number` of a team.
    ///
    /// # Errors
    /// What the system says when it refuses.
    pub(super) fn start<F: FnOnce() + Send + 'static>(number: usize, work: F) -> io::Result<Thread> {
        use std::ffi::c_void;
        extern "C" fn run<F: FnOnce()>(data: *mut c_void) -> *mut c_void {
            // SAFETY: `start` has made the pointer of such a box, for this thread alone.
            let work = unsafe { Box::from_raw(data.cast::<F>()) };
            // Nothing may unwind into the system; a worker itself catches the panics of its jobs.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            std::ptr::null_mut()
        }
        let data = Box::into_raw(Box::new(work)).cast::<c_void>();
        let (mut id, mut error) = (0, 0);
        for bytes in STACKS {
            let mut attributes: system::Attributes = [0; 16];
            // SAFETY: the attributes have room, and are made before they are used and gone after it.
            error = unsafe {
                match system::pthread_attr_init(&mut attributes) {
                    0 => {
                        system::pthread_attr_setstacksize(&mut attributes, bytes);
                        let error = system::pthread_create(&mut id, &attributes, run::<F>, data);
                        system::pthread_attr_destroy(&mut attributes);
                        error
                    }
                    error => error,
                }
            };
            if error == 0 {
                name(id, number);
                return Ok(Thread { id });
            }
        }
        // SAFETY: no thread has begun, so the box is still this one's.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
        Err(io::Error::from_raw_os_error(error))
    }

    /// Waits for the thread's end.
    pub(super) fn join(self) {
        // SAFETY: the thread was started and is joined once.
        unsafe { system::pthread_join(self.id, std::ptr::null_mut()) };
    }
}

/// Names a thread for who looks at the process: siskin-1 and so on.
#[cfg(all(target_os = "linux", not(loom)))]
fn name(id: system::Id, number: usize) {
    use std::io::Write;
    let mut name = [0u8; 16]; // the system's limit, with its NUL
    let _ = write!(&mut name[..15], "siskin-{number}");
    // SAFETY: the thread has not been joined, and the name ends with a NUL.
    unsafe { system::pthread_setname_np(id, name.as_ptr().cast()) };
}

#[cfg(all(unix, not(target_os = "linux"), not(loom)))]
fn name(_: system::Id, _: usize) {}

/// The same by loom, or by the standard library where there is no POSIX.
#[cfg(any(loom, not(unix)))]
pub(super) struct Thread {
    #[cfg(loom)]
    handle: loom::thread::JoinHandle<()>,
    #[cfg(not(loom))]
    handle: std::thread::JoinHandle<()>,
}

#[cfg(any(loom, not(unix)))]
impl Thread {
    pub(super) fn start<F: FnOnce() + Send + 'static>(number: usize, work: F) -> io::Result<Thread> {
        #[cfg(loom)]
        use loom::thread::Builder;
        #[cfg(not(loom))]
        use std::thread::Builder;
        let builder = Builder::new().name(format!("siskin-{number}")).stack_size(STACKS[0]);
        Ok(Thread { handle: builder.spawn(work)? })
    }

    pub(super) fn join(self) {
        // A worker catches the panics of its jobs; there is nothing else that could fail.
        let _ = self.handle.join();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_runs_its_work_and_ends() {
        let (sender, receiver) = channel();
        let thread = Thread::start(7, move || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap_or_default();
            sender.send(name.trim().to_string()).unwrap();
        });
        thread.unwrap().join();
        let name = receiver.recv().unwrap();
        // The name may come a moment after the thread.
        assert!(!cfg!(target_os = "linux") || !name.is_empty(), "{name}");
        assert!(receiver.recv().is_err(), "what the work held is dropped");
    }

    #[test]
    fn a_panic_ends_the_thread_alone() {
        Thread::start(1, || panic!("planted")).unwrap().join();
    }
}
