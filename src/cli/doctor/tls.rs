//! The files of mutual TLS: their readability, their permissions, and the expiry of the certificates.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::Findings;
use crate::executor::TlsFiles;

/// Time before a certificate expires from which the doctor warns.
const SOON: TimeDelta = TimeDelta::days(30);

pub(super) fn check(what: &str, files: &TlsFiles, found: &mut Findings) {
    for (setting, path) in [("ca", &files.ca), ("certificate", &files.certificate)] {
        certificate(what, setting, path, found);
    }
    let path = files.key.display();
    match std::fs::metadata(&files.key) {
        Ok(file) if file.permissions().mode() & 0o077 != 0 => {
            let told =
                format!("tls.key, {path}, can be read by other users; it gives root rights on the engine's machine");
            found.problem(what, told, &format!("Remove that permission: chmod 600 {path}"));
        }
        Ok(_) => {}
        Err(error) => {
            found.problem(what, format!("tls.key, {path}: {error}"), "Put it there, for the service's user only.");
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
        return found.problem(what, format!("{shown} contains no certificate"), "It must have PEM format.");
    };
    let advice = "Renew it, and restart Trainyard; docs/operate/machines.md describes how.";
    match end_of(&first) {
        Some(end) if end < Utc::now() => found.problem(what, format!("{shown} expired at {end}"), advice),
        Some(end) if end < Utc::now() + SOON => found.warning(what, format!("{shown} expires at {end}"), advice),
        Some(end) => found.ok(what, format!("{shown} is valid until {end}")),
        None => {
            found.warning(what, format!("{shown}: cannot read when it expires"), "Check it with openssl x509 -enddate.")
        }
    }
}

/// Returns the end of a certificate's validity: the second time in its validity field, in X.509's order of fields.
fn end_of(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = part(certificate)?;
    let (_, mut signed, _) = part(certificate)?;
    // The version is optional; then come the serial number, the signature algorithm and the issuer.
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

/// Splits off the first element of DER: its tag, its content, and the bytes after it.
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
