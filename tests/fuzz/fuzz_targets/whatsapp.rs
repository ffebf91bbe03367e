#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::webhook::<hoopoe_channels::whatsapp::Whatsapp>(data));
