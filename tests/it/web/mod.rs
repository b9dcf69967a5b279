//! The pages, in HTTP and in a real browser, and changes over HTTP.

mod browser;
mod cancel;
mod crons;
mod deliveries;
mod metrics;
mod login;
mod pages;
mod requests;
mod restart;
mod rights;
mod setup;
mod travis_api;
mod travis_passed;
