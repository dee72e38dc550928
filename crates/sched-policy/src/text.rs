//! Types that are text in files: [`as_text!`].

/// Makes a type that is parsed and shown a string for serde, with `#[serde(try_from = "String", into = "String")]`.
macro_rules! as_text {
    ($($name:ty: $error:ty),*) => {$(
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }
    )*};
}

pub(crate) use as_text;
