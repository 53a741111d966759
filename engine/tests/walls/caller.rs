//! A caller comes out of a session or a service token: nobody makes one up, or puts another in its place.

use tronch_engine::{Caller, Origin};

pub fn known(caller: Caller, origin: Origin) {
    let _ = (caller.display_name(), caller.email(), origin);
    let _ = Caller { origin: Origin::default(), ..caller }; //~ E0451 private
    let _ = Caller::default(); //~ E0599 default
    let _ = caller.identity; //~ E0616 private
    let _ = caller.actor(); //~ E0624 private
}

pub use tronch_engine::caller::Identity; //~ E0603 private
