//! Ctrl-C: the first lets the step finish and saves, the second leaves at once.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static INSTALL: Once = Once::new();

/// Listens for Ctrl-C and for a polite kill from now on. Where the handler cannot be installed, both act as usual.
pub fn install() {
    INSTALL.call_once(|| {
        let installed = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nstopping after this step and saving; press Ctrl-C again to leave at once");
        });
        if let Err(error) = installed {
            eprintln!("warning: Ctrl-C will stop without saving ({error})");
        }
    });
}

/// Whether Ctrl-C was pressed.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
