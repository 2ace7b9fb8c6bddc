//! The objects of the conformance suite, on Cloudflare.

use dokit_conformance::{Echo, Plain, Probe, Room, Rows, SqlProbe};

dokit_cloudflare::export!(Echo, Plain, Probe, Room, Rows, SqlProbe);
