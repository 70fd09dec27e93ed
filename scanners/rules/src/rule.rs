//! A checked rule: raw YAML types enter, a [`Rule`] with every name resolved and every number in
//! range leaves, or the list of what is wrong. Patterns are taken as text; the linter reads them.

use std::sync::Arc;

use mcpf_model::{Action, Family, Severity, Surface, View};

use crate::diagnostic::{At, Code, Diagnostic, Place};
use crate::raw;

/// How the candidates of a rule are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// By the literals of its patterns, in the database.
    Literal,
    /// At runs of digits.
    Digits,
    /// At an `@`.
    At,
    /// At a URL.
    Url,
    /// At `::` and colon-separated groups.
    Colons,
}

/// A check on the matched text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// The Luhn checksum of payment cards.
    Luhn,
    /// The mod-97 checksum of bank account numbers.
    Iban,
    /// The ranges of US social security numbers.
    Ssn,
    /// The shape of an e-mail address.
    Email,
    /// The shape of a telephone number.
    Phone,
    /// Shannon entropy of at least this many hundredths of a bit a byte.
    Entropy {
        /// Hundredths of a bit a byte, at most 800.
        min_centibits: u16,
    },
    /// Not an obvious placeholder such as `your-api-key`.
    NotPlaceholder,
    /// A private, loopback or link-local address.
    PrivateAddress,
    /// The address of a cloud metadata service.
    MetadataAddress,
    /// The first part is base64url of a JSON object (JSON Web Tokens).
    Base64Json,
    /// The checksum at the end of a GitHub token.
    Crc32Github,
}

/// One pattern of a rule: a regular expression over bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The expression.
    pub text: String,
    /// Whether ASCII letters match in either case.
    pub caseless: bool,
    /// Whether `.` matches a line feed.
    pub dotall: bool,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file as the caller named it.
    pub file: Arc<str>,
    /// The rule set: the name of the file's directory, for example `secrets`.
    pub set: Arc<str>,
}

/// One rule as a file defines it, checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it comes from.
    pub source: Source,
    /// Its identifier, unique among all loaded rules.
    pub id: At<Arc<str>>,
    /// A few words.
    pub name: String,
    /// What it finds and what harm that does.
    pub description: String,
    /// The kind of harm.
    pub family: Family,
    /// How bad it is when the rule is right.
    pub severity: Severity,
    /// What is done about a match. By default `redact` for secrets and personal data, else
    /// `block` from severity high up and `alert` below.
    pub action: At<Action>,
    /// Where to read more; `https` URLs.
    pub references: Vec<At<String>>,
    /// The strings the rule applies to; never empty.
    pub surfaces: Vec<Surface>,
    /// The readings of those strings; never empty. All three by default.
    pub views: Vec<View>,
    /// From which paranoia level on the rule is active, 1 to 4. Default 1.
    pub paranoia: u8,
    /// How candidates are found. Default literal.
    pub anchor: Anchor,
    /// What to match; any of them is enough.
    pub patterns: Vec<At<Pattern>>,
    /// The group that is the finding; the whole match by default.
    pub capture: Option<At<u8>>,
    /// An expression that lengthens a match from its end.
    pub extend: Option<At<String>>,
    /// Words of which one must stand near the match, in either case. None by default.
    pub keywords: Vec<At<String>>,
    /// How near, in bytes. Default 64.
    pub keyword_window: u16,
    /// Checks the match must pass, all of them.
    pub validators: Vec<Validator>,
    /// Texts the rule finds.
    pub examples: Vec<At<String>>,
    /// Texts the rule does not find.
    pub negative_examples: Vec<At<String>>,
    /// Where a literal shorter than four bytes was allowed, with a reason.
    pub short_literal: Option<Place>,
}

/// Bytes around a match in which a keyword may stand, unless the rule says otherwise.
const KEYWORD_WINDOW: u16 = 64;

/// Checks the rules of one file, reporting everything that is wrong at once.
pub(crate) fn check(raw: raw::File, source: &Source) -> Result<Vec<Rule>, Vec<Diagnostic>> {
    let mut checker = Checker {
        source,
        found: Vec::new(),
    };
    let version = raw::at(raw.version);
    if version.value != 1 {
        checker.report(
            version.place,
            Code::Version,
            format!(
                "version `{}` of the rule format is not known",
                version.value
            ),
            "write `version: 1`",
        );
    }
    let rules: Vec<Rule> = raw
        .rules
        .into_iter()
        .map(|rule| checker.rule(rule))
        .collect();
    if checker.found.is_empty() {
        Ok(rules)
    } else {
        Err(checker.found)
    }
}

struct Checker<'a> {
    source: &'a Source,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    /// Resolves every field. After a report the returned rule holds stand-ins and is dropped by
    /// [`check`].
    fn rule(&mut self, raw: raw::Rule) -> Rule {
        let id = raw::at(raw.id);
        self.id(&id);
        let family = self.named(
            raw.family,
            "family",
            Family::from_name,
            FAMILIES,
            Family::Content,
        );
        let severity = self.named(
            raw.severity,
            "severity",
            Severity::from_name,
            SEVERITIES,
            Severity::Low,
        );
        let action = match raw.action {
            Some(action) => {
                let place = raw::place(action.referenced);
                let value = self.named(action, "action", Action::from_name, ACTIONS, Action::Alert);
                At { value, place }
            }
            None => At {
                value: default_action(family, severity),
                place: id.place,
            },
        };
        let surfaces = self.surfaces(id.place, raw.surfaces, raw.direction);
        let views = self.views(raw.views);
        let paranoia = self.number(raw.paranoia, "paranoia", 1, 4, 1);
        let keyword_window = self.number(
            raw.keyword_window,
            "keyword_window",
            1,
            1_024,
            u32::from(KEYWORD_WINDOW),
        );
        let anchor = raw.anchor.map_or(Anchor::Literal, |anchor| {
            self.named(anchor, "anchor", anchor_from_name, ANCHORS, Anchor::Literal)
        });
        let capture = raw.capture.map(|capture| {
            let place = raw::place(capture.referenced);
            let value = self.number(Some(capture), "capture", 1, 32, 1);
            At {
                value: u8::try_from(value).unwrap_or(1),
                place,
            }
        });
        Rule {
            source: self.source.clone(),
            name: self.text(raw.name, "name"),
            description: self.text(raw.description, "description"),
            family,
            severity,
            action,
            references: raw.references.into_iter().map(raw::at).collect(),
            surfaces,
            views,
            paranoia: u8::try_from(paranoia).unwrap_or(1),
            anchor,
            patterns: raw
                .patterns
                .into_iter()
                .map(|pattern| checked(pattern, family))
                .collect(),
            capture,
            extend: raw.extend.map(raw::at),
            keywords: raw.keywords.into_iter().map(raw::at).collect(),
            keyword_window: u16::try_from(keyword_window).unwrap_or(KEYWORD_WINDOW),
            validators: raw
                .validators
                .into_iter()
                .map(|one| self.validator(raw::at(one)))
                .collect(),
            examples: raw.examples.into_iter().map(raw::at).collect(),
            negative_examples: raw.negative_examples.into_iter().map(raw::at).collect(),
            short_literal: raw.lint.and_then(|lint| self.exceptions(raw::at(lint))),
            id: At {
                value: Arc::from(id.value),
                place: id.place,
            },
        }
    }

    fn report(
        &mut self,
        place: Place,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found
            .push(Diagnostic::new(&self.source.file, place, code, message).help(help));
    }

    /// `[A-Z]{2,5}(-[A-Z0-9]+)*-[0-9]{3}`, at most 64 bytes.
    fn id(&mut self, id: &At<String>) {
        let mut parts = id.value.split('-');
        let prefix = parts.next().unwrap_or_default();
        let number = parts.next_back().unwrap_or_default();
        let good = id.value.len() <= 64
            && (2..=5).contains(&prefix.len())
            && prefix.bytes().all(|b| b.is_ascii_uppercase())
            && number.len() == 3
            && number.bytes().all(|b| b.is_ascii_digit())
            && parts.all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            });
        if !good {
            self.report(
                id.place,
                Code::Id,
                format!("`{}` is not a rule id", id.value.escape_debug()),
                "two to five capitals, optional parts of capitals and digits, three digits: `SEC-AWS-001`",
            );
        }
    }

    fn text(&mut self, text: serde_saphyr::Spanned<String>, field: &str) -> String {
        let at = raw::at(text);
        if at.value.trim().is_empty() {
            self.report(
                at.place,
                Code::Empty,
                format!("`{field}` is empty"),
                "say it in a few words",
            );
        }
        at.value.trim().to_owned()
    }

    fn named<T>(
        &mut self,
        name: serde_saphyr::Spanned<String>,
        what: &str,
        from_name: impl Fn(&str) -> Option<T>,
        names: &str,
        stand_in: T,
    ) -> T {
        let at = raw::at(name);
        from_name(&at.value).unwrap_or_else(|| {
            self.report(
                at.place,
                Code::Name,
                format!("`{}` is not a {what}", at.value.escape_debug()),
                format!("one of {names}"),
            );
            stand_in
        })
    }

    fn number(
        &mut self,
        number: Option<serde_saphyr::Spanned<u32>>,
        field: &str,
        min: u32,
        max: u32,
        default: u32,
    ) -> u32 {
        let Some(number) = number else { return default };
        let at = raw::at(number);
        if !(min..=max).contains(&at.value) {
            self.report(
                at.place,
                Code::Range,
                format!("`{field}` is {}", at.value),
                format!("from {min} to {max}"),
            );
        }
        at.value
    }

    fn surfaces(
        &mut self,
        rule: Place,
        surfaces: Option<serde_saphyr::Spanned<Vec<serde_saphyr::Spanned<String>>>>,
        direction: Option<serde_saphyr::Spanned<String>>,
    ) -> Vec<Surface> {
        let help = "give either `direction: inbound|outbound|both` or a list of `surfaces`";
        match (surfaces, direction) {
            (Some(list), None) => {
                let place = raw::place(list.referenced);
                let mut surfaces: Vec<Surface> = Vec::new();
                for name in list.value {
                    let surface = self.named(
                        name,
                        "surface",
                        Surface::from_name,
                        SURFACES,
                        Surface::Arguments,
                    );
                    if !surfaces.contains(&surface) {
                        surfaces.push(surface);
                    }
                }
                if surfaces.is_empty() {
                    self.report(place, Code::Surface, "the rule applies to no surface", help);
                }
                surfaces
            }
            (None, Some(direction)) => self
                .named(direction, "direction", direction_from_name, DIRECTIONS, &[])
                .to_vec(),
            (Some(_), Some(direction)) => {
                let place = raw::place(direction.referenced);
                self.report(
                    place,
                    Code::Surface,
                    "both `surfaces` and `direction` are given",
                    help,
                );
                Vec::new()
            }
            (None, None) => {
                self.report(
                    rule,
                    Code::Surface,
                    "neither `surfaces` nor `direction` is given",
                    help,
                );
                Vec::new()
            }
        }
    }

    fn views(
        &mut self,
        views: Option<serde_saphyr::Spanned<Vec<serde_saphyr::Spanned<String>>>>,
    ) -> Vec<View> {
        let Some(list) = views else {
            return ALL_VIEWS.to_vec();
        };
        let place = raw::place(list.referenced);
        let mut views: Vec<View> = Vec::new();
        for name in list.value {
            let view = self.named(name, "view", view_from_name, VIEWS, View::Plain);
            if !views.contains(&view) {
                views.push(view);
            }
        }
        if views.is_empty() {
            self.report(
                place,
                Code::Surface,
                "the rule reads no view",
                format!("one or more of {VIEWS}"),
            );
        }
        views
    }

    fn validator(&mut self, raw: At<raw::Validator>) -> Validator {
        match raw.value {
            raw::Validator::Luhn => Validator::Luhn,
            raw::Validator::Iban => Validator::Iban,
            raw::Validator::Ssn => Validator::Ssn,
            raw::Validator::Email => Validator::Email,
            raw::Validator::Phone => Validator::Phone,
            raw::Validator::NotPlaceholder => Validator::NotPlaceholder,
            raw::Validator::PrivateAddress => Validator::PrivateAddress,
            raw::Validator::MetadataAddress => Validator::MetadataAddress,
            raw::Validator::Base64Json => Validator::Base64Json,
            raw::Validator::Crc32Github => Validator::Crc32Github,
            raw::Validator::Entropy(bits) => {
                if !(bits > 0.0 && bits <= 8.0) {
                    self.report(
                        raw.place,
                        Code::Range,
                        format!("an entropy of {bits} bits a byte"),
                        "more than 0 and at most 8",
                    );
                }
                Validator::Entropy {
                    min_centibits: centibits(bits),
                }
            }
        }
    }

    fn exceptions(&mut self, lint: At<raw::Lint>) -> Option<Place> {
        let mut short_literal = None;
        for name in lint.value.allow {
            let name = raw::at(name);
            if name.value == "short-literal" {
                short_literal = Some(name.place);
            } else {
                self.report(
                    name.place,
                    Code::Exception,
                    format!(
                        "`{}` is not a lint that can be allowed",
                        name.value.escape_debug()
                    ),
                    "only `short-literal` can",
                );
            }
        }
        if lint.value.reason.trim().is_empty() {
            self.report(
                lint.place,
                Code::Exception,
                "a lint is allowed without a reason",
                "add `reason:` and say why the rule is cheap and precise all the same",
            );
        }
        short_literal
    }
}

fn checked(raw: raw::Pattern, family: Family) -> At<Pattern> {
    let regex = raw::at(raw.regex);
    At {
        place: regex.place,
        value: Pattern {
            text: regex.value,
            caseless: raw.caseless.unwrap_or_else(|| caseless(family)),
            dotall: raw.dotall,
        },
    }
}

/// Whether patterns of a family ignore case unless they say otherwise: yes for what people
/// write, no for what machines issue.
const fn caseless(family: Family) -> bool {
    match family {
        Family::Secret | Family::Pii => false,
        Family::Injection
        | Family::Exfil
        | Family::Egress
        | Family::Command
        | Family::Tool
        | Family::Content => true,
    }
}

const fn default_action(family: Family, severity: Severity) -> Action {
    match (family, severity) {
        (Family::Secret | Family::Pii, _) => Action::Redact,
        (_, Severity::High | Severity::Critical) => Action::Block,
        (_, Severity::Low | Severity::Medium) => Action::Alert,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=800 first; a float has no checked conversion"
)]
fn centibits(bits: f64) -> u16 {
    (bits * 100.0).round().clamp(0.0, 800.0) as u16
}

fn anchor_from_name(name: &str) -> Option<Anchor> {
    Some(match name {
        "literal" => Anchor::Literal,
        "digits" => Anchor::Digits,
        "at" => Anchor::At,
        "url" => Anchor::Url,
        "colons" => Anchor::Colons,
        _ => return None,
    })
}

fn view_from_name(name: &str) -> Option<View> {
    ALL_VIEWS.into_iter().find(|view| view.as_str() == name)
}

/// `inbound` is what goes to a server, `outbound` what comes back; prompts are both.
fn direction_from_name(name: &str) -> Option<&'static [Surface]> {
    Some(match name {
        "inbound" => &[Surface::Arguments, Surface::Prompt],
        "outbound" => &[
            Surface::Prompt,
            Surface::ToolResult,
            Surface::ToolDescription,
        ],
        "both" => &Surface::ALL,
        _ => return None,
    })
}

const ALL_VIEWS: [View; 3] = [View::Plain, View::Normalised, View::Decoded];
const FAMILIES: &str = "injection, secret, pii, exfil, egress, command, tool, content";
const SEVERITIES: &str = "low, medium, high, critical";
const ACTIONS: &str = "pass, alert, redact, block";
const ANCHORS: &str = "literal, digits, at, url, colons";
const SURFACES: &str = "arguments, prompt, tool_result, tool_description";
const DIRECTIONS: &str = "inbound, outbound, both";
const VIEWS: &str = "plain, normalised, decoded";
