//! Ctrl-C: the first lets the step finish and saves, the second leaves at once.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dashboard::terminal;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Listens for Ctrl-C and for a polite kill from now on. Where the handler cannot be installed, both act as usual.
pub fn install() {
    INSTALL.call_once(|| {
        let installed = ctrlc::set_handler(press);
        if let Err(error) = installed {
            eprintln!("warning: Ctrl-C will stop without saving ({error})");
        }
    });
}

/// Ctrl-C was pressed, or a key that means the same. The second time does not return.
pub fn press() {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        terminal::give_back();
        std::process::exit(130);
    }
    // A dashboard says it in its own way.
    if !terminal::is_taken() {
        eprintln!("\nstopping after this step and saving; press Ctrl-C again to leave at once");
    }
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
