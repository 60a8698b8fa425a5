//! Counterparts of the Container Network Model for tests: remote drivers that really connect
//! namespaces, and what real controllers and drivers were seen to say.

pub mod controller;
pub mod driver;
pub mod golden;
pub mod hostile;
pub mod ovn;
pub mod python;
pub mod shim;
