//! Options of the form `--name value`, and nothing that nobody asked for.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The options and the other words of one call.
#[derive(Default)]
pub struct Args {
    options: BTreeMap<String, Vec<String>>,
    /// The words that belong to no option.
    pub words: Vec<String>,
}

impl Args {
    /// Reads `words`: `valued` options take a value (also as `--name=value`), `flags` take none.
    pub fn parse(words: &[String], valued: &[&str], flags: &[&str]) -> Result<Self, String> {
        let mut args = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(option) = word.strip_prefix("--") else {
                args.words.push(word.clone());
                continue;
            };
            let (name, given) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let value = if valued.contains(&name) {
                given
                    .or_else(|| rest.next().cloned())
                    .ok_or_else(|| format!("--{name} needs a value"))?
            } else if flags.contains(&name) && given.is_none() {
                String::new()
            } else {
                return Err(format!("unknown option `{word}`"));
            };
            args.options.entry(name.to_owned()).or_default().push(value);
        }
        Ok(args)
    }

    /// Whether a flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The last value of an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// Every value of an option, split at commas.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let values = self.options.get(name).into_iter().flatten();
        values.flat_map(|value| value.split(',')).filter(|part| !part.is_empty()).collect()
    }

    /// The value of an option, read as `T`.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| format!("--{name}: `{text}` makes no sense"))
    }

    /// The value of an option that cannot be left out.
    pub fn need<T: FromStr>(&self, name: &str) -> Result<T, String> {
        self.get(name)?.ok_or_else(|| format!("--{name} is missing"))
    }

    /// A number of seconds, at least 0 and at most an hour.
    pub fn seconds(&self, name: &str, default: f64) -> Result<f64, String> {
        let value = self.get(name)?.unwrap_or(default);
        if (0.0..=3600.0).contains(&value) {
            return Ok(value);
        }
        Err(format!("--{name}: {value} is not between 0 and 3600 seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Args::parse(&words, &["pid", "seconds"], &["quiet"])
    }

    #[test]
    fn options_words_and_mistakes() {
        let args = parse("file --pid 1,2 --pid=3 --quiet").unwrap();
        assert_eq!(args.words, ["file"]);
        assert_eq!(args.list("pid"), ["1", "2", "3"]);
        assert!(args.has("quiet") && !args.has("seconds"));
        assert!(parse("--pid").is_err());
        assert!(parse("--quiet=yes").is_err());
        assert!(parse("--pids 1").is_err());
        assert!(parse("--seconds -1").unwrap().seconds("seconds", 1.0).is_err());
        assert!(parse("--seconds x").unwrap().get::<f64>("seconds").is_err());
    }
}
