//! The objects of the conformance suite, on Cloudflare.

use dokit_conformance::{Plain, Probe, Room, Rows, SqlProbe};

dokit_cloudflare::export!(Plain, Probe, Room, Rows, SqlProbe);
