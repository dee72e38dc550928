//! One connection to one node: [`CqlConnection`].

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use bytes::Bytes;
use scylla_cql::Consistency;
use scylla_cql::frame::protocol_features::ProtocolFeatures;
use scylla_cql::frame::request::query::{Query, QueryParameters};
use scylla_cql::frame::request::{AuthResponse, SerializableRequest, Startup};
use scylla_cql::frame::response::error::DbError;
use scylla_cql::frame::response::result::{
    Result as CqlResult, ResultWithDeserializedMetadata as Deserialized,
};
use scylla_cql::frame::response::{Response, ResponseOpcode};
use scylla_cql::frame::{SerializedRequest, parse_response_body_extensions};
use scylla_cql::value::{CqlValue, Row};
use secrecy::ExposeSecret;

use super::{CassandraNode, frame};
use crate::DriverError;

const HEADER_BYTES: usize = 9;
/// Answers are a few kilobytes; the largest, the schema, some megabytes.
const MOST_BYTES: u64 = 256 << 20;

/// One blocking connection to one node of Cassandra, for what is asked of that very node: its own state, its place in
/// the ring, the schema. Not for an application: it has no pool, prepares nothing, and reads an answer in one piece.
///
/// It speaks version 4 of the native protocol, with the frames of the `scylla` driver's own crate.
pub struct CqlConnection {
    pub(super) server: String,
    pub(super) stream: Box<dyn Wire>,
}

impl CqlConnection {
    /// Connects, and says who it is if the node asks.
    ///
    /// # Errors
    /// [`DriverError::Unreachable`] when there is no answer within the node's time-out, [`DriverError::Refused`] when
    /// the password is wrong or missing.
    pub fn open(node: &CassandraNode) -> Result<Self, DriverError> {
        let server = node.cql_server();
        let stream = connect(node).map_err(|e| unreachable(&server, &e))?;
        let mut connection = Self { server, stream };
        let options = HashMap::from([("CQL_VERSION".into(), "3.0.0".into())]);
        match connection.ask(&Startup { options })? {
            Response::Ready => Ok(connection),
            Response::Authenticate(_) => connection.log_in(node),
            other => Err(connection.unexpected(&other)),
        }
    }

    fn log_in(mut self, node: &CassandraNode) -> Result<Self, DriverError> {
        let Some((user, password)) = &node.user else {
            let remedy = "give a user with `CassandraNode::login`".into();
            return Err(DriverError::Refused {
                server: self.server,
                error: "it wants a password".into(),
                remedy,
            });
        };
        let response = format!("\0{user}\0{}", password.expose_secret()).into_bytes();
        match self.ask(&AuthResponse { response: Some(response) })? {
            Response::AuthSuccess(_) => Ok(self),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Runs one statement at consistency `ONE` and returns the rows, if it gives any.
    ///
    /// # Errors
    /// When the node does not answer within its time-out: the connection is then of no further use. When it answers
    /// with an error, as to a table that its version does not have.
    pub fn query(&mut self, cql: &str) -> Result<CqlRows, DriverError> {
        let parameters = QueryParameters { consistency: Consistency::One, ..QueryParameters::default() };
        let answer = self.ask(&Query { contents: cql.into(), parameters })?;
        let Response::Result(result) = answer else { return Err(self.unexpected(&answer)) };
        self.rows(result)
    }

    fn rows(&self, result: CqlResult) -> Result<CqlRows, DriverError> {
        let Deserialized::Rows((rows, _)) = result.deserialize_metadata().map_err(|e| self.nonsense(&e))?
        else {
            return Ok(CqlRows::default());
        };
        let columns = rows.metadata().col_specs().iter().map(|column| column.name().to_owned()).collect();
        let typed = rows.rows_iter::<Row>().map_err(|e| self.nonsense(&e))?;
        let rows = typed.collect::<Result<Vec<Row>, _>>().map_err(|e| self.nonsense(&e))?;
        Ok(CqlRows { columns, rows: rows.into_iter().map(|row| row.columns).collect() })
    }

    /// One request, one answer: there is never more than one under way.
    fn ask<R: SerializableRequest>(&mut self, request: &R) -> Result<Response, DriverError> {
        let frame = SerializedRequest::make(request, None, false).map_err(|e| self.nonsense(&e))?;
        let exchanged = self.send(frame.get_data()).and_then(|()| self.receive());
        let (flags, opcode, body) = exchanged.map_err(|e| unreachable(&self.server, &e))?;
        let opcode = ResponseOpcode::try_from(opcode).map_err(|e| self.nonsense(&e))?;
        let body = parse_response_body_extensions(flags, None, body).map_err(|e| self.nonsense(&e))?.body;
        frame::check(opcode, &body).map_err(|e| self.nonsense(&e))?;
        let features = ProtocolFeatures::default();
        match Response::deserialize(&features, opcode, body, None).map_err(|e| self.nonsense(&e))? {
            Response::Error(error) => Err(self.refused(&error.error, error.reason)),
            response => Ok(response),
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)?;
        self.stream.flush()
    }

    fn receive(&mut self) -> io::Result<(u8, u8, Bytes)> {
        receive(&mut self.stream)
    }

    fn refused(&self, error: &DbError, said: String) -> DriverError {
        let server = self.server.clone();
        let remedy = match error {
            DbError::AuthenticationError => "give the right password with `CassandraNode::login`",
            DbError::Unauthorized => "grant the role SELECT on system, system_schema and system_views",
            DbError::Overloaded | DbError::IsBootstrapping | DbError::Unavailable { .. } => {
                return DriverError::NotReady { server, problem: said };
            }
            _ => return DriverError::Answer { server, problem: said },
        };
        DriverError::Refused { server, error: said, remedy: remedy.into() }
    }

    fn unexpected(&self, response: &Response) -> DriverError {
        let problem = format!("an answer of another kind: {:?}", response.to_response_kind());
        DriverError::Answer { server: self.server.clone(), problem }
    }

    fn nonsense(&self, error: &dyn fmt::Display) -> DriverError {
        DriverError::Answer { server: self.server.clone(), problem: error.to_string() }
    }
}

/// One frame: flags, opcode and body.
fn receive(from: &mut impl Read) -> io::Result<(u8, u8, Bytes)> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    let [_, flags, _, _, opcode, length @ ..] = header;
    let length = u64::from(u32::from_be_bytes(length));
    if length > MOST_BYTES {
        let problem = format!("an answer of {length} bytes is not one of Cassandra's");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    // As much memory as bytes come, not as the node says there will be.
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((flags, opcode, body.into()))
}

impl fmt::Debug for CqlConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlConnection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What bytes go through.
pub(super) trait Wire: Read + Write + Send {}

impl<W: Read + Write + Send> Wire for W {}

fn connect(node: &CassandraNode) -> io::Result<Box<dyn Wire>> {
    let stream = reach(node)?;
    stream.set_read_timeout(Some(node.timeout))?;
    stream.set_write_timeout(Some(node.timeout))?;
    stream.set_nodelay(true)?;
    #[cfg(feature = "cassandra-tls")]
    if let Some(tls) = &node.tls {
        let name = rustls::pki_types::ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
        let mut session = rustls::ClientConnection::new(tls.0.clone(), name).map_err(io::Error::other)?;
        let mut stream = stream;
        // Now, so that a certificate that is wrong is said here.
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        return Ok(Box::new(rustls::StreamOwned::new(session, stream)));
    }
    Ok(Box::new(stream))
}

fn reach(node: &CassandraNode) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name leads nowhere");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, node.timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn unreachable(server: &str, error: &io::Error) -> DriverError {
    DriverError::Unreachable { server: server.to_owned(), error: error.to_string() }
}

/// The rows that a statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CqlRows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<CqlValue>>>,
}

impl CqlRows {
    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in the node's order.
    pub fn iter(&self) -> impl Iterator<Item = CqlRow<'_>> {
        self.rows.iter().map(|values| CqlRow { columns: &self.columns, values })
    }
}

/// One row. Columns are asked for by name: later versions add some.
#[derive(Clone, Copy, Debug)]
pub struct CqlRow<'a> {
    columns: &'a [String],
    values: &'a [Option<CqlValue>],
}

impl<'a> CqlRow<'a> {
    fn value(self, column: &str) -> Option<&'a CqlValue> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)?.as_ref()
    }

    /// A number; `None` when it is null, no number, or there is no such column.
    pub fn number(self, column: &str) -> Option<f64> {
        match self.value(column)? {
            CqlValue::Int(number) => Some(f64::from(*number)),
            CqlValue::BigInt(number) => Some(*number as f64),
            CqlValue::Counter(number) => Some(number.0 as f64),
            CqlValue::Double(number) => Some(*number),
            CqlValue::Float(number) => Some(f64::from(*number)),
            _ => None,
        }
    }

    /// A text, an address or an identifier as text; `None` as of [`number`](Self::number).
    pub fn text(self, column: &str) -> Option<String> {
        match self.value(column)? {
            CqlValue::Text(text) | CqlValue::Ascii(text) => Some(text.clone()),
            CqlValue::Inet(address) => Some(address.to_string()),
            CqlValue::Uuid(id) => Some(id.to_string()),
            _ => None,
        }
    }

    /// The texts of a set or list, in the node's order; none when it is null or something else.
    pub fn texts(self, column: &str) -> Vec<String> {
        let (Some(CqlValue::Set(values)) | Some(CqlValue::List(values))) = self.value(column) else {
            return Vec::new();
        };
        let text = |value: &CqlValue| match value {
            CqlValue::Text(text) | CqlValue::Ascii(text) => Some(text.clone()),
            _ => None,
        };
        values.iter().filter_map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that was asked for at once.
    struct Greed<'a> {
        rest: &'a [u8],
        most: usize,
    }

    impl Read for Greed<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.most = self.most.max(buf.len());
            self.rest.read(buf)
        }
    }

    #[test]
    fn an_answer_takes_memory_as_it_comes() {
        let frame =
            |length: u32, body: &[u8]| [&[0x84, 1, 0, 0, 8][..], &length.to_be_bytes(), body].concat();
        let read = |bytes: &[u8]| {
            let mut from = Greed { rest: bytes, most: 0 };
            (receive(&mut from), from.most)
        };
        let (whole, _) = read(&frame(3, b"abcd"));
        assert_eq!(whole.unwrap(), (1, 8, Bytes::from_static(b"abc")));
        // It announces 256 MiB, and sends three bytes.
        let (cut, most) = read(&frame(256 << 20, b"abc"));
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(most < 1 << 20, "{most} bytes of memory for three");
        assert!(
            read(&frame((256 << 20) + 1, b"")).0.unwrap_err().to_string().contains("not one of Cassandra's")
        );
    }
}
