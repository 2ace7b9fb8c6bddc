//! The object of the conformance suite, on Cloudflare.

use dokit_conformance::Probe;

dokit_cloudflare::export!(Probe);
