//! Trust: a signature by a key the site trusts turns bytes into [`Sums`], and nothing else does.
//!
//! Signatures are minisign's, prehashed ones only. A bundle's members are reached through
//! [`Sums`] alone, so that what has not been signed cannot be used by mistake.

use std::collections::HashMap;
use std::fmt;

use minisign_verify::{PublicKey, Signature};

use crate::bundle::member;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Bytes of a minisign public key: algorithm, key ID, Ed25519 key.
const PUBLIC_KEY_BYTES: usize = 42;

/// Most bytes of a public key file: two short lines.
pub const KEY_FILE_LIMIT: u64 = 4 << 10;

/// A public key somebody decided to trust, or might.
#[derive(Clone)]
pub struct Key {
    public: PublicKey,
    id: u64,
    fingerprint: Digest,
    place: String,
}

impl Key {
    /// Reads minisign's public key file, or its second line alone. `place` names it in messages.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let refuse = || {
            Error::usage("this is not a minisign public key")
                .at(place)
                .remedy("give the .pub file that 'ldms-pack keygen' or 'minisign -G' wrote")
        };
        let line = match text.lines().collect::<Vec<_>>()[..] {
            [comment, key] if comment.starts_with("untrusted comment:") => key,
            [key] => key,
            _ => return Err(refuse()),
        };
        let public = PublicKey::from_base64(line).map_err(|e| refuse().because(e))?;
        let raw =
            decode_base64(line).filter(|raw| raw.len() == PUBLIC_KEY_BYTES).ok_or_else(refuse)?;
        let mut id = [0; 8];
        id.copy_from_slice(&raw[2..10]);
        Ok(Key {
            public,
            id: u64::from_le_bytes(id),
            fingerprint: Digest::of(&raw),
            place: place.to_owned(),
        })
    }

    /// The key ID as minisign prints it. Not proof of anything: anybody can make a key with any ID.
    pub fn id(&self) -> String {
        format!("{:016X}", self.id)
    }

    /// The SHA-256 of the decoded key in groups of four digits, to be read out on the telephone:
    /// `tail -n1 KEY.pub | base64 -d | sha256sum` prints the same.
    pub fn fingerprint(&self) -> String {
        grouped(&self.fingerprint.hex())
    }

    /// The file it came from.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} from {})", self.id(), self.place)
    }
}

/// Text in groups of four characters.
fn grouped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    for (i, c) in text.chars().enumerate() {
        if i > 0 && i % 4 == 0 {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

fn decode_base64(line: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(line).ok()
}

/// Who signed, as the signature and the trusted key together show.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signer {
    /// Key ID as minisign prints it.
    pub key_id: String,
    /// See [`Key::fingerprint`].
    pub fingerprint: String,
    /// The file of the trusted key.
    pub key: String,
    /// The trusted comment, which the signature covers.
    pub comment: String,
}

/// A small file found beside what it speaks of: a signature.
#[derive(Clone, Debug)]
pub struct File {
    /// for messages
    pub name: String,
    /// not proven
    pub bytes: Vec<u8>,
}

/// Checks `message` against the first of `signatures` that one of `keys` made.
///
/// # Errors
/// `Refused`: no keys, no signature by any of them, a signature that does not fit, a legacy one.
pub fn verify(message: &[u8], signatures: &[File], keys: &[Key]) -> Result<Signer> {
    if keys.is_empty() {
        return Err(Error::refused("no key is trusted here, so nothing can be verified").remedy(
            "give the packer's public key with --pubkey FILE, or put it into /etc/ldms/trusted.d; \
             compare its fingerprint with the packer by telephone first",
        ));
    }
    if signatures.is_empty() {
        return Err(Error::refused("it is not signed")
            .remedy("have it signed by the packer with 'ldms-pack build --key'"));
    }
    let mut strangers = Vec::new();
    let mut first_problem = None;
    for file in signatures {
        match check(message, file, keys) {
            Ok(Checked::Trusted(signer)) => return Ok(signer),
            Ok(Checked::Stranger(id)) => strangers.push(id),
            // Another signature may still be good: one is enough.
            Err(problem) => {
                first_problem.get_or_insert(problem.at(&file.name));
            }
        }
    }
    if let Some(problem) = first_problem {
        return Err(problem);
    }
    let trusted: Vec<String> =
        keys.iter().map(|key| format!("{} ({})", key.id(), key.place)).collect();
    Err(Error::refused(format!(
        "it is signed by key {}, which is not trusted here; trusted: {}",
        strangers.join(", "),
        trusted.join(", ")
    ))
    .remedy(
        "if that key is the packer's, give its public key with --pubkey FILE after comparing \
         fingerprints; otherwise do not use this medium",
    ))
}

/// What one signature file says.
enum Checked {
    /// It is good, and by a trusted key.
    Trusted(Signer),
    /// It is by a key with this ID, which is not trusted.
    Stranger(String),
}

/// Looks at one signature: four lines, each with its line feed, of minisign's prehashed kind.
fn check(message: &[u8], file: &File, keys: &[Key]) -> Result<Checked> {
    let malformed = || Error::refused("the signature is malformed");
    let text = std::str::from_utf8(&file.bytes).map_err(|e| malformed().because(e))?;
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    if lines.len() != 4 || !text.ends_with('\n') || text.contains('\r') {
        return Err(malformed());
    }
    let signature = Signature::decode(text).map_err(|e| malformed().because(e))?;
    let id = decode_base64(lines[1])
        .and_then(|raw| raw.get(2..10).map(<[u8]>::to_vec))
        .and_then(|raw| raw.try_into().ok())
        .map(u64::from_le_bytes)
        .ok_or_else(malformed)?;
    let mut known = false;
    // Two keys may share an ID by design or by malice: the next may fit.
    for key in keys.iter().filter(|key| key.id == id) {
        known = true;
        match key.public.verify(message, &signature, false) {
            Ok(()) => {
                return Ok(Checked::Trusted(Signer {
                    key_id: key.id(),
                    fingerprint: key.fingerprint(),
                    key: key.place.clone(),
                    comment: signature.trusted_comment().to_owned(),
                }));
            }
            Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                return Err(Error::refused("the signature is of minisign's legacy kind")
                    .remedy("have it signed again with a current minisign (0.10 or later)"));
            }
            Err(_) => {}
        }
    }
    if known {
        return Err(Error::refused(
            "the signature does not fit: the checksums or the signature were changed",
        )
        .remedy("copy the bundle to the medium again from where it was packed"));
    }
    Ok(Checked::Stranger(format!("{id:016X}")))
}

/// The signed checksums of a bundle's members: the proof that everything else hangs from.
pub struct Sums {
    entries: Vec<(String, Digest)>,
    by_name: HashMap<String, usize>,
}

impl Sums {
    /// Checks the signature, then reads the checksums. This is the installer's only way to get one.
    pub fn verified(text: &[u8], signatures: &[File], keys: &[Key]) -> Result<(Self, Signer)> {
        let signer = verify(text, signatures, keys)?;
        Ok((Self::parse(text)?, signer))
    }

    /// The packer's own checksums, of a bundle it is about to sign.
    #[cfg(feature = "pack")]
    pub(crate) fn of_own(text: &[u8]) -> Result<Self> {
        Self::parse(text)
    }

    /// `HEX  NAME` a line, as `sha256sum` writes it; anything else is refused.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse =
            |line: usize, why: &str| Error::refused(format!("line {line} {why}")).at("SHA256SUMS");
        let text = std::str::from_utf8(bytes).map_err(|_| refuse(0, "is not text"))?;
        if !text.ends_with('\n') {
            return Err(refuse(text.lines().count(), "has no end"));
        }
        let mut entries = Vec::new();
        let mut by_name = HashMap::new();
        // split, not lines: a carriage return is not part of any line here
        for (i, line) in text[..text.len() - 1].split('\n').enumerate() {
            let (hex, name) =
                line.split_once("  ").ok_or_else(|| refuse(i + 1, "is not 'DIGEST  NAME'"))?;
            let digest = Digest::from_hex(hex).map_err(|e| refuse(i + 1, e.what()))?;
            member::check_name(name).map_err(|e| refuse(i + 1, e.what()))?;
            if by_name.insert(name.to_owned(), i).is_some() {
                return Err(refuse(i + 1, &format!("names {name} again")));
            }
            entries.push((name.to_owned(), digest));
        }
        Ok(Sums { entries, by_name })
    }

    /// Member names and digests in the order of the bundle.
    pub fn entries(&self) -> &[(String, Digest)] {
        &self.entries
    }

    /// The signed digest of a member.
    pub fn digest(&self, name: &str) -> Result<Digest> {
        self.by_name.get(name).map(|&i| self.entries[i].1).ok_or_else(|| {
            Error::refused(format!("{name} is not in the signed checksums")).at("SHA256SUMS")
        })
    }

    /// `bytes` back if they are what was signed for `name`.
    pub fn prove(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let signed = self.digest(name)?;
        if Digest::of(&bytes) == signed {
            return Ok(bytes);
        }
        Err(damaged(name))
    }
}

/// What is said wherever a member's bytes are not those that were signed.
pub fn damaged(name: &str) -> Error {
    Error::refused(format!("{name} is damaged: its digest is not the signed one"))
        .remedy("copy the bundle to the medium again, or use another medium")
}

#[cfg(test)]
#[cfg(feature = "pack")]
mod tests {
    use super::*;

    fn pair() -> (minisign::KeyPair, Key) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = Key::parse(&pair.pk.to_box().unwrap().to_string(), "test.pub").unwrap();
        (pair, key)
    }

    fn sign(pair: &minisign::KeyPair, bytes: &[u8]) -> Vec<File> {
        let signed =
            minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some("a comment"), None).unwrap();
        vec![File { name: "SHA256SUMS.minisig".into(), bytes: signed.into_string().into_bytes() }]
    }

    fn sums() -> Vec<u8> {
        format!("{}  index.toml\n", Digest::of(b"x").hex()).into_bytes()
    }

    #[test]
    fn a_trusted_signature_opens() {
        let (pair, key) = pair();
        let (sums, signer) =
            Sums::verified(&sums(), &sign(&pair, &sums()), std::slice::from_ref(&key)).unwrap();
        assert_eq!(signer.comment, "a comment");
        assert_eq!(signer.key_id, key.id());
        assert_eq!(sums.prove("index.toml", b"x".to_vec()).unwrap(), b"x");
        assert!(sums.prove("index.toml", b"y".to_vec()).is_err());
        assert!(sums.prove("other", b"x".to_vec()).is_err());
    }

    #[test]
    fn nothing_else_does() {
        let (pair_a, key_a) = pair();
        let (_, key_b) = pair();
        let good = sign(&pair_a, &sums());
        let message = |r: Result<(Sums, Signer)>| r.err().unwrap().to_string();
        assert!(message(Sums::verified(&sums(), &good, &[])).contains("no key is trusted"));
        assert!(
            message(Sums::verified(&sums(), &[], std::slice::from_ref(&key_a)))
                .contains("not signed")
        );
        let text = message(Sums::verified(&sums(), &good, std::slice::from_ref(&key_b)));
        assert!(text.contains(&key_a.id()) && text.contains(&key_b.id()), "{text}");
        let mut changed = sums();
        changed[0] ^= 1;
        assert!(
            message(Sums::verified(&changed, &good, std::slice::from_ref(&key_a)))
                .contains("does not fit")
        );
        let mut comment = good.clone();
        comment[0].bytes = String::from_utf8(comment[0].bytes.clone())
            .unwrap()
            .replace("a comment", "b comment")
            .into_bytes();
        assert!(message(Sums::verified(&sums(), &comment, &[key_a])).contains("does not fit"));
    }

    #[test]
    fn one_good_signature_among_others_is_enough_and_its_form_is_strict() {
        let (pair, key) = pair();
        let good = sign(&pair, &sums()).remove(0);
        let file = |bytes: &[u8]| File { name: "s".into(), bytes: bytes.to_vec() };
        let keys = [key];
        for bad in [&b""[..], b"nonsense", &[&good.bytes[..], b"more\n"].concat()] {
            assert!(verify(&sums(), &[file(bad)], &keys).is_err());
            assert!(verify(&sums(), &[file(bad), good.clone()], &keys).is_ok());
        }
        let text = String::from_utf8(good.bytes.clone()).unwrap();
        assert!(verify(&sums(), &[file(text.replace('\n', "\r\n").as_bytes())], &keys).is_err());
        assert!(verify(&sums(), &[file(text.trim_end().as_bytes())], &keys).is_err());
    }

    #[test]
    fn only_the_exact_form_of_sums_is_read() {
        let d = Digest::of(b"x").hex();
        for bad in [
            String::new(),
            format!("{d}  a"),
            format!("{d} a\n"),
            format!("{d} *a\n"),
            format!("{d}  a\n\n"),
            format!("{d}  a\r\n"),
            format!("{d}  ../a\n"),
            format!("{d}  a\n{d}  a\n"),
            format!("{}  a\n", d.to_uppercase()),
            "\\\n".into(),
        ] {
            assert!(Sums::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(
            Sums::parse(format!("{d}  a\n{d}  b/c\n").as_bytes()).unwrap().entries().len(),
            2
        );
    }
}
