//! Chains of plugins, played by shell scripts that write down how they were called.

mod add;
mod del;
mod fakes;
mod whole_network;
