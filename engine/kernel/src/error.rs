//! Coded errors. `resources/errors.toml` gives each code its words; here are code and fields.
//!
//! Fields never hold stored keys or values: an error may be logged, shown and mailed. Between which
//! keys damage lies is told beside them, to programs only: no text of an error holds it.

use std::fmt;

/// The value of one field of an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    Text(String),
    Int(i64),
    Float(f64),
    List(Vec<String>),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Text(text) => write!(f, "{text:?}"),
            Field::Int(number) => write!(f, "{number}"),
            Field::Float(number) => write!(f, "{number}"),
            Field::List(texts) => write!(f, "{texts:?}"),
        }
    }
}

impl From<&str> for Field {
    fn from(value: &str) -> Self {
        Field::Text(value.to_owned())
    }
}
impl From<String> for Field {
    fn from(value: String) -> Self {
        Field::Text(value)
    }
}
impl From<u64> for Field {
    fn from(value: u64) -> Self {
        Field::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
impl From<u32> for Field {
    fn from(value: u32) -> Self {
        Field::Int(i64::from(value))
    }
}
impl From<usize> for Field {
    fn from(value: usize) -> Self {
        Field::from(value as u64)
    }
}
impl From<i64> for Field {
    fn from(value: i64) -> Self {
        Field::Int(value)
    }
}
impl From<f64> for Field {
    fn from(value: f64) -> Self {
        Field::Float(value)
    }
}
impl From<Vec<String>> for Field {
    fn from(value: Vec<String>) -> Self {
        Field::List(value)
    }
}

/// Keys from `low` on and below `high`; `None` is open. Stored values: no text shows them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KeyBounds {
    pub low: Option<Vec<u8>>,
    pub high: Option<Vec<u8>>,
}

impl KeyBounds {
    /// One key and no other.
    pub fn only(key: &[u8]) -> KeyBounds {
        let after = [key, &[0]].concat();
        KeyBounds { low: Some(key.to_vec()), high: Some(after) }
    }
}

impl fmt::Debug for KeyBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBounds")
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// Every code the kernel can raise; the names are those of the catalogue.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($name),* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            pub fn number(self) -> i32 {
                match self { $(Code::$name => $code),* }
            }

            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }
        }
    };
}

codes! {
    InternalError = -1,
    InvalidArgument = -2,
    NotSupported = -3,
    IoError = -10,
    DiskFull = -11,
    StoreFailed = -12,
    StoreClosed = -13,
    DatabaseNotFound = -14,
    DatabaseExists = -15,
    DatabaseOpenElsewhere = -16,
    ReadOnlyDatabase = -17,
    FormatUnsupported = -18,
    NotADatabase = -19,
    PageNotFound = -20,
    ChecksumMismatch = -21,
    PageDamaged = -22,
    CacheExhausted = -23,
    ForkedHandle = -24,
    PermissionDenied = -25,
    ControlDamaged = -26,
    OutOfMemory = -27,
    PagesLeaked = -29,
    TransactionBusy = -30,
    TransactionEnded = -31,
    Deadlock = -32,
    LockTimeout = -33,
    WriteConflict = -34,
    SnapshotTooOld = -35,
    TransactionAborted = -36,
    SavepointNotFound = -37,
    WritesHalted = -39,
    TreeNotFound = -40,
    KeyTooLong = -42,
    ValueTooLong = -43,
    TableNotFound = -50,
    TableExists = -51,
    UniqueViolation = -52,
    NotNullViolation = -53,
    ColumnNotFound = -54,
    TypeMismatch = -55,
    BadInput = -56,
    UnsupportedSource = -57,
    IndexNotFound = -58,
    SchemaInvalid = -59,
    RecoveryNeeded = -60,
    Cancelled = -61,
    BackupDamaged = -62,
    TargetNotEmpty = -63,
    RecoveryImpossible = -70,
    WalCorrupted = -71,
    InsufficientResources = -72,
    InconsistentState = -75,
    RecoveryRollbackFailed = -81,
    IncrementRefused = -90,
    PointNotReached = -91,
    BackupLocked = -93,
    SnapshotNotFound = -96,
    SnapshotDamaged = -97,
    SnapshotGivenUp = -98,
    MirrorDiverged = -110,
    MirrorIncomplete = -111,
    DatabaseIsMirror = -112,
    DatabaseSuperseded = -113,
    MirrorNotReached = -114,
}

/// A coded error with its fields and, where there is one, its cause.
#[derive(Clone, Debug)]
pub struct Error {
    pub code: Code,
    pub fields: Vec<(&'static str, Field)>,
    pub cause: Option<Box<Error>>,
    /// The keys that damage keeps from being read, where it is known.
    pub key_bounds: Option<Box<KeyBounds>>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: Code) -> Self {
        Error { code, fields: Vec::new(), cause: None, key_bounds: None }
    }

    /// Adds one field: `Error::new(Code::TreeNotFound).with("tree", name)`.
    pub fn with(mut self, name: &'static str, value: impl Into<Field>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Says another value in the place of a field, which is added where it is missing.
    pub fn saying(mut self, name: &'static str, value: impl Into<Field>) -> Self {
        match self.fields.iter_mut().find(|(n, _)| *n == name) {
            Some((_, there)) => *there = value.into(),
            None => self.fields.push((name, value.into())),
        }
        self
    }

    /// Says to programs which keys cannot be read because of it.
    pub fn within(mut self, bounds: KeyBounds) -> Self {
        self.key_bounds = Some(Box::new(bounds));
        self
    }

    pub fn because(mut self, cause: Error) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// A fault of the program itself, told by its place; never by stored data.
    pub fn internal(detail: impl Into<String>) -> Self {
        Error::new(Code::InternalError).with("detail", detail.into())
    }

    pub fn argument(argument: &'static str, issue: impl Into<String>) -> Self {
        Error::new(Code::InvalidArgument).with("argument", argument).with("issue", issue.into())
    }

    /// Translates an error of the operating system, telling full disks and refused access apart.
    pub fn io(operation: &'static str, path: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Code::DiskFull
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Code::PermissionDenied,
            // Nothing is known of the device.
            _ if crate::memory::lacks(error) => {
                return Error::new(Code::OutOfMemory).with("operation", operation);
            }
            _ => Code::IoError,
        };
        Error::new(code)
            .with("operation", operation)
            .with("path", path)
            .with("os_error", error.to_string())
    }

    /// True where the bytes of a page cannot be had from its place, or are not what was written.
    pub fn is_page_damage(&self) -> bool {
        matches!(self.code, Code::ChecksumMismatch | Code::PageDamaged | Code::IoError)
    }

    /// True where a page is there and holds something else than was written, or is not there at all.
    pub fn is_lost_page(&self) -> bool {
        matches!(self.code, Code::ChecksumMismatch | Code::PageDamaged | Code::PageNotFound)
    }

    /// True where something was not looked at to its end, so that nothing is known of it.
    pub fn is_interruption(&self) -> bool {
        matches!(self.code, Code::Cancelled | Code::OutOfMemory)
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code.name(), self.code.number())?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value}")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
