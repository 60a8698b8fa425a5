//! The binary.

#![cfg_attr(not(test), no_main)]

cni_plugin::stamp!(host_local::BUILD);

cni_plugin::entry!(host_local::HostLocal);
