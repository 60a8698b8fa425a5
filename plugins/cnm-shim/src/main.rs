//! stub
mod config;
fn main() {}
