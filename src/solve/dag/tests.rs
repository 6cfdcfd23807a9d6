//! Small graphs against brute force.
