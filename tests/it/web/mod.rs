//! The pages, in HTTP and in a real browser.

mod browser;
mod cancel;
mod pages;
