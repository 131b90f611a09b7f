//! Events out of bytes.
