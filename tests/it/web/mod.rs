//! The pages, in HTTP and in a real browser, and changes over HTTP.

mod browser;
mod cancel;
mod pages;
mod restart;
