//! The last word on a match: is it really what the pattern thinks it is?
//!
//! Enters: the bytes a pattern captured. Leaves: yes or no. Validators never look at anything
//! else, never allocate more than the match and never fail.
//!
//! | name in a rule file | argument | keeps a match when |
//! |---|---|---|
//! | `luhn` | | its 2 or more digits pass the Luhn check |
//! | `credit_card` | | 13 to 19 digits, first digit 2 to 6, Luhn, not all alike |
//! | `iban` | | country, length and mod-97 are right |
//! | `us_ssn` | | area, group and serial were ever issued, and it is no known dummy |
//! | `email` | | local part and domain are well formed, and it is no example or file name |
//! | `phone` | | E.164 with `+`, or 10 or 11 national digits with separators |
//! | `entropy` | bits per byte, 0 to 8 | its Shannon entropy is at least that |
//! | `not_placeholder` | | it does not look like `xxxx`, `your_key`, `${VAR}`, `<token>`, `12345678` |
//! | `private_address` | | the host is private, loopback, link-local or special, in any notation |
//! | `metadata_address` | | the host is a cloud metadata service, in any notation |
//! | `dangerous_scheme` | | its scheme reads files, runs code or speaks raw protocols |
//! | `jwt` | | three base64url parts, and the first decodes to a JSON object with `alg` |
//! | `min_digits` | count | it has at least that many ASCII digits |
//! | `mixed` | | it has an upper-case letter, a lower-case letter and a digit |

pub(crate) mod address;
mod contact;
mod identity;
mod jwt;
mod numbers;
mod secret;

use std::fmt;

/// A check on the bytes a pattern captured. A closed set: rules name them, code owns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validator {
    /// The digits pass the Luhn check.
    Luhn,
    /// A payment card number: length, first digit and Luhn.
    CreditCard,
    /// An IBAN: country, length and mod-97.
    Iban,
    /// A US social security number that was ever issued.
    UsSsn,
    /// A well-formed e-mail address.
    Email,
    /// A plausible telephone number.
    Phone,
    /// At least this much Shannon entropy.
    Entropy {
        /// Hundredths of a bit per byte, 0 to 800.
        min_centibits: u16,
    },
    /// Not an example, a template variable or a keyboard run.
    NotPlaceholder,
    /// A host that is private, loopback, link-local or special, in any notation.
    PrivateAddress,
    /// A host that is a cloud metadata service, in any notation.
    MetadataAddress,
    /// A URL scheme that reads files, runs code or speaks raw protocols.
    DangerousScheme,
    /// A JSON web token.
    Jwt,
    /// At least this many ASCII digits.
    MinDigits {
        /// How many.
        min: u16,
    },
    /// Upper case, lower case and a digit.
    Mixed,
}

/// Why a validator in a rule file could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownValidator {
    /// There is none of that name.
    #[error("unknown validator `{0}`; known are {names}", names = Validator::NAMES.join(", "))]
    Name(String),
    /// The argument is missing, unwanted or out of range.
    #[error("validator `{name}` {expects}")]
    Argument {
        /// The validator.
        name: &'static str,
        /// What it expects.
        expects: &'static str,
    },
}

impl Validator {
    /// Every name a rule file may use.
    pub const NAMES: [&'static str; 14] = [
        "luhn",
        "credit_card",
        "iban",
        "us_ssn",
        "email",
        "phone",
        "entropy",
        "not_placeholder",
        "private_address",
        "metadata_address",
        "dangerous_scheme",
        "jwt",
        "min_digits",
        "mixed",
    ];

    /// The validator called `name`, with its argument if it takes one.
    ///
    /// # Errors
    /// If there is none of that name, or its argument is missing, unwanted or out of range.
    pub fn from_name(name: &str, argument: Option<f64>) -> Result<Self, UnknownValidator> {
        let plain = match name {
            "entropy" => return entropy(argument),
            "min_digits" => return min_digits(argument),
            "luhn" => Self::Luhn,
            "credit_card" => Self::CreditCard,
            "iban" => Self::Iban,
            "us_ssn" => Self::UsSsn,
            "email" => Self::Email,
            "phone" => Self::Phone,
            "not_placeholder" => Self::NotPlaceholder,
            "private_address" => Self::PrivateAddress,
            "metadata_address" => Self::MetadataAddress,
            "dangerous_scheme" => Self::DangerousScheme,
            "jwt" => Self::Jwt,
            "mixed" => Self::Mixed,
            _ => return Err(UnknownValidator::Name(name.to_owned())),
        };
        if argument.is_some() {
            return Err(UnknownValidator::Argument {
                name: plain.name(),
                expects: "takes no argument",
            });
        }
        Ok(plain)
    }

    /// The name used in rule files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Luhn => "luhn",
            Self::CreditCard => "credit_card",
            Self::Iban => "iban",
            Self::UsSsn => "us_ssn",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Entropy { .. } => "entropy",
            Self::NotPlaceholder => "not_placeholder",
            Self::PrivateAddress => "private_address",
            Self::MetadataAddress => "metadata_address",
            Self::DangerousScheme => "dangerous_scheme",
            Self::Jwt => "jwt",
            Self::MinDigits { .. } => "min_digits",
            Self::Mixed => "mixed",
        }
    }

    /// Whether `matched` is what the rule thinks it is.
    #[must_use]
    pub fn accepts(self, matched: &[u8]) -> bool {
        match self {
            Self::Luhn => numbers::luhn(matched),
            Self::CreditCard => numbers::credit_card(matched),
            Self::Iban => numbers::iban(matched),
            Self::UsSsn => identity::us_ssn(matched),
            Self::Email => contact::email(matched),
            Self::Phone => contact::phone(matched),
            Self::Entropy { min_centibits } => secret::centibits(matched) >= min_centibits,
            Self::NotPlaceholder => !secret::placeholder(matched),
            Self::PrivateAddress => address::is_private(matched),
            Self::MetadataAddress => address::is_metadata(matched),
            Self::DangerousScheme => address::dangerous_scheme(matched),
            Self::Jwt => jwt::jwt(matched),
            Self::MinDigits { min } => numbers::digits(matched).count() >= usize::from(min),
            Self::Mixed => secret::mixed(matched),
        }
    }
}

impl fmt::Display for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy { min_centibits } => {
                write!(
                    f,
                    "entropy: {}.{:02}",
                    min_centibits / 100,
                    min_centibits % 100
                )
            }
            Self::MinDigits { min } => write!(f, "min_digits: {min}"),
            plain => f.write_str(plain.name()),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn entropy(bits: Option<f64>) -> Result<Validator, UnknownValidator> {
    match bits {
        Some(bits) if (0.0..=8.0).contains(&bits) => Ok(Validator::Entropy {
            min_centibits: (bits * 100.0).round() as u16,
        }),
        _ => Err(UnknownValidator::Argument {
            name: "entropy",
            expects: "needs bits per byte, 0 to 8",
        }),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn min_digits(count: Option<f64>) -> Result<Validator, UnknownValidator> {
    match count {
        Some(count) if (1.0..=4096.0).contains(&count) && count.fract() == 0.0 => {
            Ok(Validator::MinDigits { min: count as u16 })
        }
        _ => Err(UnknownValidator::Argument {
            name: "min_digits",
            expects: "needs a whole number, 1 to 4096",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in Validator::NAMES {
            let argument = match name {
                "entropy" => Some(3.5),
                "min_digits" => Some(4.0),
                _ => None,
            };
            let validator = Validator::from_name(name, argument).unwrap();
            assert_eq!(validator.name(), name);
            assert!(!validator.to_string().is_empty());
        }
    }

    #[test]
    fn arguments_are_checked() {
        assert!(Validator::from_name("entropy", None).is_err());
        assert!(Validator::from_name("entropy", Some(9.0)).is_err());
        assert!(Validator::from_name("entropy", Some(f64::NAN)).is_err());
        assert!(Validator::from_name("luhn", Some(1.0)).is_err());
        assert!(Validator::from_name("min_digits", Some(0.5)).is_err());
        let unknown = Validator::from_name("magic", None).unwrap_err();
        assert!(
            unknown
                .to_string()
                .starts_with("unknown validator `magic`; known are luhn")
        );
    }
}
