//! The siskin model file.
