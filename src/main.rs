//! The program `trainyard`: only calls [`trainyard::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // All TLS users share one provider, which is chosen before any of them starts.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        unreachable!("nothing else has chosen a provider yet");
    }
    trainyard::cli::main()
}
