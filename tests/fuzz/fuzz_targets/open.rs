//! Any bytes as a file, checksums mended so that what lies behind them is reached.

#![no_main]

#[path = "../../src/raw_file.rs"]
#[allow(dead_code)] // shared with the tests, which use all of it
mod raw_file;

use libfuzzer_sys::fuzz_target;
use raw_file::RawFile;
use siskin_format::File;

fuzz_target!(|data: &[u8]| {
    let file = RawFile::new(data.to_vec()).put(0, b"\x89SISKIN\n").sealed();
    if let Ok(file) = File::from_bytes(file.bytes) {
        let _ = file.verify();
        for info in file.tensors() {
            assert_eq!(file.view(info).to_f32().len(), info.rows * info.cols);
        }
    }
});
