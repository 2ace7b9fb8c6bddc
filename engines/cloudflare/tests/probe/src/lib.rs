//! The objects of the conformance suite, on Cloudflare.

use dokit_conformance::{Echo, Plain, Probe, Room};

dokit_cloudflare::export!(Plain, Probe, Echo, Room);
