//! The key of this step: ES256, made here, kept for a second pipe in the same step where the storage directory can be written.
//!
//! The receiver binds a step token to the first key it comes with, so two pipes in one step must share theirs.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::es256;
use crate::crypto::{hex, random_hex, sha256};

/// PKCS #8 of a P-256 key has 138 bytes; anything much longer is not ours.
const LONGEST: u64 = 1024;

/// The step's signing key.
pub struct StepKey {
    private: EncodingKey,
    public: Jwk,
}

/// Where the key came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another pipe of this step left it.
    Loaded,
    /// Made now and kept.
    Stored,
    /// Made now and not kept, and why.
    InMemory(String),
}

impl StepKey {
    /// Return the key kept for this step token, or a new one. A key that cannot be kept still serves this pipe.
    ///
    /// # Panics
    /// Where the operating system has no random numbers.
    pub fn load_or_create(storage_dir: Option<&Path>, step_token: &SecretString) -> (Self, Origin) {
        let Some(directory) = storage_dir else {
            return Self::in_memory("BITBUCKET_PIPE_STORAGE_DIR is not set".to_owned());
        };
        let path = key_path(directory, step_token);
        match load(&path) {
            Ok(key) => return (key, Origin::Loaded),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Self::in_memory(format!("the kept key was not used: {error}")),
        }
        let pkcs8 = Self::generate();
        match store(directory, &path, pkcs8.expose_secret()) {
            Ok(()) => (Self::made(&pkcs8), Origin::Stored),
            // Another pipe of this step was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match load(&path) {
                Ok(key) => (key, Origin::Loaded),
                Err(error) => Self::in_memory(format!("the kept key was not used: {error}")),
            },
            Err(error) => Self::in_memory(format!("the key could not be kept: {error}")),
        }
    }

    fn in_memory(why: String) -> (Self, Origin) {
        (Self::made(&Self::generate()), Origin::InMemory(why))
    }

    fn made(pkcs8: &SecretSlice<u8>) -> Self {
        Self::from_pkcs8(pkcs8).expect("a key that was made can be read")
    }

    /// Return a new key as PKCS #8.
    fn generate() -> SecretSlice<u8> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("the operating system has random numbers");
        SecretSlice::from(pkcs8.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: &SecretSlice<u8>) -> io::Result<Self> {
        let pkcs8 = pkcs8.expose_secret();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not a P-256 key in PKCS #8"))?;
        // X9.62 uncompressed point: 0x04, 32 bytes of x, 32 bytes of y.
        let point = pair.public_key().as_ref();
        let public = Jwk {
            common: CommonParameters::default(),
            algorithm: AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
                key_type: EllipticCurveKeyType::EC,
                curve: EllipticCurve::P256,
                x: URL_SAFE_NO_PAD.encode(&point[1..33]),
                y: URL_SAFE_NO_PAD.encode(&point[33..65]),
            }),
        };
        es256::install();
        Ok(Self { private: EncodingKey::from_ec_der(pkcs8), public })
    }

    pub(super) fn private(&self) -> &EncodingKey {
        &self.private
    }

    /// Return the public half (RFC 7518, section 6.2.1).
    pub(super) fn public(&self) -> &Jwk {
        &self.public
    }
}

/// One file for each step token: the directory outlives the step, and the next step's token must not meet this one's key.
fn key_path(directory: &Path, step_token: &SecretString) -> PathBuf {
    let token = step_token.expose_secret();
    let signing_input = token.rsplit_once('.').map_or(token, |(signing_input, _)| signing_input);
    directory.join(format!("fastapi-handoff-{}.p8", &hex(&sha256(signing_input.as_bytes()))[..32]))
}

fn load(path: &Path) -> io::Result<StepKey> {
    // O_NOFOLLOW and O_NONBLOCK: a link or a pipe planted here must not make the pipe read, or wait for, something else.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 || metadata.len() > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file that only its owner can read"));
    }
    let mut pkcs8 = Vec::new();
    file.take(LONGEST).read_to_end(&mut pkcs8)?;
    let pkcs8 = SecretSlice::from(pkcs8);
    StepKey::from_pkcs8(&pkcs8)
}

/// Write the key beside its place and link it into it, which fails where the name is taken: nobody ever reads half a key.
fn store(directory: &Path, path: &Path, pkcs8: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".fastapi-handoff-{}", random_hex::<8>()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(pkcs8))
        .and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn token(text: &str) -> SecretString {
        format!("header.{text}.signature").into()
    }

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("step-key-{}", random_hex::<8>()))
    }

    #[test]
    fn two_pipes_of_one_step_share_their_key() {
        let directory = directory();
        let (first, origin) = StepKey::load_or_create(Some(&directory), &token("a"));
        assert_eq!(origin, Origin::Stored);
        let (second, origin) = StepKey::load_or_create(Some(&directory), &token("a"));
        assert_eq!(origin, Origin::Loaded);
        assert_eq!(first.public, second.public);
        let (other_step, _) = StepKey::load_or_create(Some(&directory), &token("b"));
        assert_ne!(first.public, other_step.public);
        for entry in fs::read_dir(&directory).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn key_that_others_could_have_planted_is_not_used() {
        let directory = directory();
        let (_, origin) = StepKey::load_or_create(Some(&directory), &token("a"));
        assert_eq!(origin, Origin::Stored);
        let path = key_path(&directory, &token("a"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(StepKey::load_or_create(Some(&directory), &token("a")).1, Origin::InMemory(_)));
        symlink(&path, key_path(&directory, &token("b"))).unwrap();
        assert!(matches!(StepKey::load_or_create(Some(&directory), &token("b")).1, Origin::InMemory(_)));
        fs::write(key_path(&directory, &token("c")), b"no key").unwrap();
        assert!(matches!(StepKey::load_or_create(Some(&directory), &token("c")).1, Origin::InMemory(_)));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn key_is_made_where_nothing_can_be_kept() {
        let nowhere = Path::new("/proc/nowhere");
        assert!(matches!(StepKey::load_or_create(Some(nowhere), &token("a")).1, Origin::InMemory(_)));
        assert!(matches!(StepKey::load_or_create(None, &token("a")).1, Origin::InMemory(_)));
    }
}
