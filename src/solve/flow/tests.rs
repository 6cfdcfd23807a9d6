//! Small clusters against brute force.
