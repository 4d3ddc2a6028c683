//! The variables that name a file: `CA_CERTIFICATE` and `RECEIPT_FILE`.

use std::io::{self, Read as _};
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::env::Mistakes;

/// No PEM file is larger, and a device could be endless.
const LARGEST_FILE: u64 = 1024 * 1024;

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Read certificates from PEM, or from the file at this path.
pub(super) fn ca_certificates(value: Option<String>, wrong: &mut Mistakes) -> Vec<CertificateDer<'static>> {
    let Some(value) = value else {
        return Vec::new();
    };
    let pem = if value.contains("-----BEGIN") {
        // A value that went through a shell may hold its line breaks as `\n`.
        value.replace("\\n", "\n").into_bytes()
    } else {
        match read_file(&value) {
            Ok(pem) => pem,
            Err(error) => {
                wrong.add(
                    "CA_CERTIFICATE",
                    format!("is neither PEM nor a file that can be read ({})", error.kind()),
                    "give the certificate as PEM, or the path of a PEM file below the clone directory",
                );
                return Vec::new();
            }
        }
    };
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => certificates,
        _ => {
            wrong.add(
                "CA_CERTIFICATE",
                "holds no certificate in PEM",
                "give the whole text from `-----BEGIN CERTIFICATE-----` on",
            );
            Vec::new()
        }
    }
}

/// Fail before deploying if RECEIPT_FILE cannot be written.
pub(super) fn receipt_file(path: Option<&str>, wrong: &mut Mistakes) {
    let Some(path) = path.map(Path::new) else {
        return;
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // A link is looked at itself, not what it leads to: writing replaces the link.
    let what = match std::fs::symlink_metadata(path) {
        _ if path.as_os_str().as_encoded_bytes().ends_with(b"/") => "is a directory".to_owned(),
        Ok(there) if there.is_dir() => "is a directory".to_owned(),
        Err(error) if error.kind() != io::ErrorKind::NotFound => format!("cannot be written ({})", error.kind()),
        Err(_) if folder.is_some_and(|folder| !folder.is_dir()) => "is in a directory that is not there".to_owned(),
        Ok(_) | Err(_) => return,
    };
    wrong.add("RECEIPT_FILE", what, "give a file's path below the clone directory, in a directory that is there");
}
