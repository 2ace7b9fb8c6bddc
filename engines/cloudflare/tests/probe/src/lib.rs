//! The objects of the conformance suite, on Cloudflare.

use dokit_conformance::{Echo, Plain, Probe};

dokit_cloudflare::export!(Plain, Probe, Echo);
