//! Links to real meshes, each behind the same seam and chosen by one URL.
#![forbid(unsafe_code)]
