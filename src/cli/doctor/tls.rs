//! The files of mutual TLS: whether they can be read, by whom, and how long the certificates hold.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Findings;
use crate::executor::TlsFiles;

/// A certificate that ends sooner is worth a warning.
const SOON: TimeDelta = TimeDelta::days(30);

pub(super) fn check(what: &str, files: &TlsFiles, found: &mut Findings) {
    for (setting, path) in [("ca", &files.ca), ("certificate", &files.certificate)] {
        certificate(what, setting, path, found);
    }
    let path = files.key.display();
    match std::fs::metadata(&files.key) {
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            let told =
                format!("tls.key, {path}, can be read by other users; whoever has it is root on the engine's machine");
            found.problem(what, told, &format!("Take it from them: chmod 600 {path}"));
        }
        Ok(_) => {}
        Err(error) => {
            found.problem(what, format!("tls.key, {path}: {error}"), "Put it there, for the service's user alone.");
        }
    }
}

fn certificate(what: &str, setting: &str, path: &Path, found: &mut Findings) {
    let shown = format!("tls.{setting}, {}", path.display());
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) => {
            return found.problem(what, format!("{shown}: {error}"), "Put it there, readable for the service's user.");
        }
    };
    let Some(Ok(first)) = CertificateDer::pem_slice_iter(&text).next() else {
        return found.problem(what, format!("{shown} holds no certificate"), "It has to be one in PEM.");
    };
    let advice = "Renew it, and start Trainyard again; README.md tells how it is made.";
    match end_of(&first) {
        Some(end) if end < Utc::now() => found.problem(what, format!("{shown} has ended at {end}"), advice),
        Some(end) if end < Utc::now() + SOON => found.warning(what, format!("{shown} ends at {end}"), advice),
        Some(end) => found.ok(what, format!("{shown} holds until {end}")),
        None => {
            found.warning(what, format!("{shown}: it cannot be told when it ends"), "Look with openssl x509 -enddate.")
        }
    }
}

/// When a certificate ends: the second time of its validity, as X.509 orders a certificate's parts.
fn end_of(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = part(certificate)?;
    let (_, mut signed, _) = part(certificate)?;
    // The version may be left out; then come the serial number, the signature's kind and the issuer.
    if signed.first() == Some(&0xa0) {
        signed = part(signed)?.2;
    }
    for _ in 0..3 {
        signed = part(signed)?.2;
    }
    let (_, validity, _) = part(signed)?;
    let (_, _, rest) = part(validity)?;
    let (kind, text, _) = part(rest)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match kind {
        // UTCTime has two digits for the year, up to 2049.
        0x17 if text < "5" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    Some(NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?.and_utc())
}

/// The first part of DER: its kind, what is in it, and what follows.
fn part(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..0x80 => (usize::from(length), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))?, rest)
        }
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((kind, inside, rest))
}
