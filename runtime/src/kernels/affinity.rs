//! Binding a thread to a CPU.

use std::io;

/// Binds the calling thread, and every thread that it starts from now on, to one CPU.
///
/// # Errors
/// What the system says, for a CPU that this process may not use; [`io::ErrorKind::Unsupported`] on anything but Linux.
#[cfg(target_os = "linux")]
pub(crate) fn bind(cpu: usize) -> io::Result<()> {
    // SAFETY: the declaration is that of the manual page sched_setaffinity(2).
    unsafe extern "C" {
        /// `sched_setaffinity(2)`; thread 0 is the caller.
        fn sched_setaffinity(thread: i32, bytes: usize, mask: *const usize) -> i32;
    }
    let mut mask = [0usize; 1024 / usize::BITS as usize]; // the C library's own cpu_set_t
    let word = mask.get_mut(cpu / usize::BITS as usize);
    *word.ok_or(io::ErrorKind::InvalidInput)? |= 1 << (cpu % usize::BITS as usize);
    // SAFETY: the call reads as many bytes of the mask as it is told, and the mask has them.
    match unsafe { sched_setaffinity(0, size_of_val(&mask), mask.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Binds the calling thread to one CPU, which only Linux can.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`].
#[cfg(not(target_os = "linux"))]
pub(crate) fn bind(_cpu: usize) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "threads can be bound to cores on Linux only"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_bound_thread_stays_on_its_cpu() {
        std::thread::spawn(|| {
            let allowed = || {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
                line.unwrap().trim().to_string()
            };
            let cpu: usize = allowed().split(['-', ',']).next().unwrap().parse().unwrap();
            bind(cpu).unwrap();
            assert_eq!(allowed(), cpu.to_string());
            assert_eq!(std::thread::spawn(allowed).join().unwrap(), cpu.to_string(), "inherited");
            assert!(bind(1 << 20).is_err());
        })
        .join()
        .unwrap();
    }
}
