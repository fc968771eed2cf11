//! Signing: minisign's own key files, so that stock `minisign` can take over at any time.

use std::ops::Range;

use minisign::{KeyPair, SecretKeyBox};

use crate::bundle::writer;
use crate::error::{Error, Result};

/// Texts of a new key pair, in minisign's file formats.
pub struct NewKey {
    /// the secret key file
    pub secret: String,
    /// the public key file
    pub public: String,
}

/// Makes a key pair; the secret key is encrypted where a password is given.
pub fn generate(password: Option<String>) -> Result<NewKey> {
    let broken = |e| Error::failed("cannot make a key").because(e);
    let pair = match password {
        Some(password) => KeyPair::generate_encrypted_keypair(Some(password)),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(broken)?;
    Ok(NewKey {
        secret: pair.sk.to_box(None).map_err(broken)?.into_string(),
        public: pair.pk.to_box().map_err(broken)?.into_string(),
    })
}

/// Bytes of a secret key in its file: three algorithms, salt, two limits, key ID, key, checksum.
const SECRET_BYTES: usize = 158;
/// Which of them say how it is encrypted; zeros: not at all.
const KDF: Range<usize> = 2..4;
/// And the checksum.
const CHECKSUM: Range<usize> = 126..158;

/// What a secret key file holds, if it is one: a comment, and a line of the right length that
/// names the two algorithms of minisign.
fn secret_bytes(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let line = text.lines().nth(1)?;
    let raw = base64::engine::general_purpose::STANDARD.decode(line.trim_end()).ok()?;
    (raw.len() == SECRET_BYTES && raw.starts_with(b"Ed") && &raw[4..6] == b"B2").then_some(raw)
}

/// A secret key, ready to sign.
pub struct SecretKey(minisign::SecretKey);

impl SecretKey {
    /// Reads minisign's secret key file; `password` is called only for an encrypted one.
    pub fn parse(
        text: &str,
        place: &str,
        password: impl FnOnce() -> Result<String>,
    ) -> Result<Self> {
        let refuse = || {
            Error::usage("this is not a minisign secret key")
                .at(place)
                .remedy("name ldms.key of 'ldms-pack keygen', or what 'minisign -G' wrote")
        };
        let raw = secret_bytes(text).ok_or_else(refuse)?;
        let parse = || SecretKeyBox::from_string(text).map_err(|e| refuse().because(e));
        if raw[KDF] != [0, 0] {
            let password = password()?;
            let key = parse()?.into_secret_key(Some(password));
            return key.map(SecretKey).map_err(|e| {
                Error::usage("the password does not open this key")
                    .at(place)
                    .because(e)
                    .remedy("try again, or give it in a file: --password-file FILE")
            });
        }
        // Stock minisign leaves the checksum of an unencrypted key empty, which the crate does
        // not take. What it would catch, a changed byte, shows when a signature is checked.
        let key = if raw[CHECKSUM].iter().all(|&b| b == 0) {
            minisign::SecretKey::from_bytes(&raw)
        } else {
            parse()?.into_unencrypted_secret_key()
        };
        key.map(SecretKey).map_err(|e| refuse().because(e))
    }

    /// The public key that belongs to it, as minisign's file has it.
    pub fn public(&self) -> Result<String> {
        minisign::PublicKey::from_secret_key(&self.0)
            .and_then(|key| key.to_box())
            .map(minisign::PublicKeyBox::into_string)
            .map_err(|e| Error::failed("cannot derive the public key").because(e))
    }

    /// A signature over `message`, prehashed, in minisign's form.
    pub fn sign(&self, message: &[u8], comment: &str) -> Result<Vec<u8>> {
        let broken = |e| Error::failed("cannot sign").because(e);
        // Given the public key, the signature is checked before it is given out.
        let public = minisign::PublicKey::from_secret_key(&self.0).map_err(broken)?;
        minisign::sign(Some(&public), &self.0, message, Some(comment), Some(UNTRUSTED))
            .map(|signature| signature.into_string().into_bytes())
            .map_err(broken)
    }
}

/// The untrusted comment of our signatures.
const UNTRUSTED: &str = "signature by ldms-pack";

/// Signs a bundle's checksums under a trusted comment that is known beforehand.
pub struct BundleSigner<'a> {
    /// who signs
    pub key: &'a SecretKey,
    /// the trusted comment: one line
    pub comment: String,
}

impl writer::Signer for BundleSigner<'_> {
    fn size(&self) -> u64 {
        // Two comments, 74 and 64 bytes in base64, four line ends.
        let comments = "untrusted comment: ".len()
            + UNTRUSTED.len()
            + "trusted comment: ".len()
            + self.comment.len();
        comments as u64 + 100 + 88 + 4
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.key.sign(message, &self.comment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::writer::Signer as _;
    use crate::trust;

    #[test]
    fn signs_what_trust_accepts_in_the_size_it_said() {
        let pair = generate(None).unwrap();
        let key = SecretKey::parse(&pair.secret, "k", || panic!("no password needed")).unwrap();
        assert_eq!(
            trust::Key::parse(&key.public().unwrap(), "a").unwrap().fingerprint(),
            trust::Key::parse(&pair.public, "b").unwrap().fingerprint()
        );
        let signer = BundleSigner { key: &key, comment: "ldms 4.4.4 release 1".into() };
        let bytes = signer.sign(b"message").unwrap();
        assert_eq!(bytes.len() as u64, signer.size());
        let public = trust::Key::parse(&pair.public, "k.pub").unwrap();
        let file = trust::File { name: "s".into(), bytes };
        let signed = trust::verify(b"message", &[file], &[public]).unwrap();
        assert_eq!(signed.comment, "ldms 4.4.4 release 1");
    }

    #[test]
    fn a_password_is_needed_and_must_be_right() {
        let pair = generate(Some("open sesame".into())).unwrap();
        assert!(SecretKey::parse(&pair.secret, "k", || Ok("open sesame".into())).is_ok());
        let error = SecretKey::parse(&pair.secret, "k", || Ok("wrong".into())).err().unwrap();
        assert!(error.to_string().contains("password"), "{error}");
        // What is no secret key is told so, without asking for its password.
        for text in ["nonsense", "", "a\nb\n", &pair.public] {
            let error = SecretKey::parse(text, "k", || panic!("nothing to open")).err().unwrap();
            assert!(error.to_string().contains("not a minisign secret key"), "{error}");
        }
    }
}
