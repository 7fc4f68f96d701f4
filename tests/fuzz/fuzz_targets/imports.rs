//! `siskin_tests::fuzz::imports` under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin_tests::alloc::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| siskin_tests::fuzz::imports::imports(data));
