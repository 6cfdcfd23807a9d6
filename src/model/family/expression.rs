//! Expressions of the family table over the values of a configuration: `n_heads * head_dim`,
//! `layer_types[layer] == 'sliding_attention'`.
//!
//! The language is Jinja's, which model configurations already speak in their chat templates. Only
//! this file names the crate that evaluates it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, UndefinedBehavior, Value};

/// What an expression may give as a number: more than any dimension of a model.
const LARGEST: u64 = 1 << 40;

/// The language, with its filters and tests; what is not there may be looked into.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment
});

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpressionError {
    /// Names that the configuration leaves out.
    Missing(Vec<String>),
    /// A value of the configuration that is no number where one is needed.
    NotANumber {
        /// Its name.
        name: String,
        /// What it is.
        value: String,
    },
    /// A result that no dimension has.
    OutOfRange {
        /// The expression.
        expression: String,
        /// What it gives.
        value: String,
    },
}

/// Names and their values.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    values: BTreeMap<String, Value>,
    /// The same as the evaluator takes it, made when it is first needed.
    context: OnceCell<Value>,
}

impl Scope {
    /// A scope of the values of a JSON object.
    pub fn new(config: &serde_json::Map<String, serde_json::Value>) -> Self {
        let values = config
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        Self {
            values: values.collect(),
            context: OnceCell::new(),
        }
    }

    /// Sets a number.
    pub fn set(&mut self, name: &str, number: u64) {
        self.insert(name, Value::from(number));
    }

    /// Sets a text.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.insert(name, Value::from(text));
    }

    /// Sets what an expression gives.
    ///
    /// # Errors
    /// Where it has no value.
    pub fn define(&mut self, name: &str, expression: &str) -> Result<(), ExpressionError> {
        let value = self.value(expression)?;
        self.insert(name, value);
        Ok(())
    }

    fn insert(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
        self.context = OnceCell::new();
    }

    /// Sets the widths of queries, of keys or values, and of all three, which follow from the heads.
    pub fn derive(&mut self) {
        let (heads, kv_heads) = (self.number("n_heads"), self.number("n_kv_heads"));
        let (Ok(heads), Ok(kv_heads), Ok(head_dim)) = (heads, kv_heads, self.number("head_dim"))
        else {
            return;
        };
        let (q, kv) = (
            heads.saturating_mul(head_dim),
            kv_heads.saturating_mul(head_dim),
        );
        self.set("q", q);
        self.set("kv", kv);
        self.set("qkv", q.saturating_add(kv.saturating_mul(2)));
    }

    /// Whether a name has a value that is not null.
    pub fn has(&self, name: &str) -> bool {
        self.values
            .get(name)
            .is_some_and(|value| !value.is_none() && !value.is_undefined())
    }

    /// Whether an expression holds; what is not there does not.
    ///
    /// # Errors
    /// Where it cannot be evaluated.
    pub fn is(&self, expression: &str) -> Result<bool, ExpressionError> {
        match self.values.get(expression) {
            Some(value) => Ok(value.is_true()),
            None => Ok(self.evaluate(expression)?.is_true()),
        }
    }

    /// The whole number that an expression gives.
    ///
    /// # Errors
    /// Where a name is missing, a value is no number, or the result is negative or beyond any model.
    pub fn number(&self, expression: &str) -> Result<u64, ExpressionError> {
        if let Ok(number) = expression.parse() {
            return Ok(number);
        }
        let value = match self.values.get(expression) {
            Some(value) => value.clone(),
            None => self.value(expression)?,
        };
        if value.is_undefined() || value.is_none() {
            return Err(self.missing(expression));
        }
        let number = match value.kind() {
            ValueKind::Number | ValueKind::Bool => as_whole(&value),
            _ => None,
        };
        match number.filter(|number| *number <= LARGEST) {
            Some(number) => Ok(number),
            None if self.values.contains_key(expression) => Err(ExpressionError::NotANumber {
                name: expression.to_owned(),
                value: excerpt(&value),
            }),
            None => Err(ExpressionError::OutOfRange {
                expression: expression.to_owned(),
                value: excerpt(&value),
            }),
        }
    }

    /// The numbers of a list.
    pub fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        let list = self.values.get(name)?;
        list.try_iter()
            .ok()?
            .map(|value| as_whole(&value))
            .collect()
    }

    /// The value of an expression. Text multiplies to any length, so it may only be compared.
    fn value(&self, expression: &str) -> Result<Value, ExpressionError> {
        if expression.contains('*') {
            for name in names(expression) {
                if let Some(value) = self.values.get(&name)
                    && value.kind() == ValueKind::String
                {
                    let value = excerpt(value);
                    return Err(ExpressionError::NotANumber { name, value });
                }
            }
        }
        self.evaluate(expression)
    }

    fn evaluate(&self, expression: &str) -> Result<Value, ExpressionError> {
        // The table is compiled in, and a test compiles every expression of it.
        let compiled = ENVIRONMENT.compile_expression_owned(expression.to_owned());
        let result = compiled.and_then(|compiled| {
            let context = self
                .context
                .get_or_init(|| Value::from(self.values.clone()));
            compiled.eval(context.clone())
        });
        result.map_err(|error| match self.missing(expression) {
            ExpressionError::Missing(names) if names.is_empty() => ExpressionError::OutOfRange {
                expression: expression.to_owned(),
                value: error.to_string(),
            },
            missing => missing,
        })
    }

    fn missing(&self, expression: &str) -> ExpressionError {
        let names = names(expression).into_iter();
        ExpressionError::Missing(names.filter(|name| !self.has(name)).collect())
    }
}

/// Whether an expression can be compiled.
#[cfg(test)]
pub(super) fn compiles(expression: &str) -> bool {
    ENVIRONMENT
        .compile_expression_owned(expression.to_owned())
        .is_ok()
}

/// The names that an expression uses, in alphabetical order.
fn names(expression: &str) -> Vec<String> {
    let Ok(compiled) = ENVIRONMENT.compile_expression_owned(expression.to_owned()) else {
        return Vec::new();
    };
    let mut names: Vec<_> = compiled.undeclared_variables(false).into_iter().collect();
    names.sort_unstable();
    names
}

/// A value as a whole number: integers, floats without a fraction, and truth as 0 or 1.
fn as_whole(value: &Value) -> Option<u64> {
    if value.kind() == ValueKind::Bool {
        return Some(u64::from(value.is_true()));
    }
    u64::try_from(value.clone()).ok().or_else(|| {
        let float = f64::try_from(value.clone()).ok()?;
        (float >= 0.0 && float <= LARGEST as f64 && float.fract() == 0.0).then_some(float as u64)
    })
}

/// The value as a message shows it, cut where it is long.
fn excerpt(value: &Value) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scope(config: serde_json::Value) -> Scope {
        Scope::new(config.as_object().unwrap())
    }

    #[test]
    fn arithmetic_lists_and_defaults() {
        let scope = scope(json!({"a": 6, "kinds": ["x", "y"], "none": null, "half": 0.5}));
        assert_eq!(scope.number("a * 7"), Ok(42));
        assert_eq!(scope.number("a // 4 + a % 4"), Ok(3));
        assert_eq!(scope.number("3 if kinds[1] == 'y' else 4"), Ok(3));
        assert_eq!(scope.number("none or a"), Ok(6));
        assert_eq!(scope.number("b | default(5)"), Ok(5));
        assert_eq!(scope.number("(a * half) | int"), Ok(3));
        assert_eq!(scope.is("absent"), Ok(false));
        assert_eq!(scope.is("absent.inner == 3"), Ok(false));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = ExpressionError::Missing(vec!["b".to_owned()]);
        assert_eq!(scope(json!({"a": 6})).number("a * b"), Err(missing.clone()));
        assert_eq!(scope(json!({"a": 6})).number("b"), Err(missing));
    }

    #[test]
    fn text_is_no_number_and_is_not_multiplied() {
        let scope = scope(json!({"a": "4096", "b": 1_000_000_000_000_u64}));
        let fault = ExpressionError::NotANumber {
            name: "a".to_owned(),
            value: "'4096'".to_owned(),
        };
        assert_eq!(scope.number("a"), Err(fault.clone()));
        assert_eq!(scope.number("a * b"), Err(fault));
        assert!(scope.number("b * b").is_err());
        assert!(scope.number("0 - 1").is_err());
    }
}
