//! The way from a command to the daemon.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

use crate::seam::{Event, JobView};

/// Environment variable with the API's address.
const ENV_API: &str = "COMPOTASTIC_API";
/// Environment variable with the token itself.
const ENV_TOKEN: &str = "COMPOTASTIC_TOKEN";
const DEFAULT: &str = "http://127.0.0.1:4480";
/// A command has so long to be answered.
const PATIENCE: Duration = Duration::from_secs(90);
/// Largest answer, bytes.
const ANSWER_BYTES: u64 = 32 << 20;

/// Where the daemon is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ApiArgs {
    /// Address of the daemon's API [default: COMPOTASTIC_API, else http://127.0.0.1:4480]
    #[arg(long, value_name = "URL", global = true)]
    pub api: Option<String>,
    /// File with the daemon's token, where it asks for one [default: the token in COMPOTASTIC_TOKEN]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// Talks to the daemon.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    /// For streams, which have no end of their own.
    patient: Agent,
    base: String,
    token: Option<String>,
}

impl ApiArgs {
    /// Whether the command line says where the daemon is.
    pub fn is_given(&self) -> bool {
        self.api.is_some() || self.token_file.is_some()
    }
}

fn agent(patience: Option<Duration>) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(patience)
        .timeout_connect(Some(Duration::from_secs(10)))
        .max_redirects(0)
        // The daemon is on this machine, or as good as that: no proxy stands between.
        .proxy(None)
        .build()
        .into()
}

impl Client {
    /// Out of the arguments and the environment; nothing is sent yet.
    pub fn new(args: &ApiArgs) -> Result<Self> {
        let given = args.api.clone().or_else(|| std::env::var(ENV_API).ok().filter(|url| !url.is_empty()));
        let base = given.unwrap_or_else(|| DEFAULT.to_string());
        let base = if base.contains("://") { base } else { format!("http://{base}") };
        let base = base.trim_end_matches('/').to_string();
        ensure!(
            base.starts_with("http://") || base.starts_with("https://"),
            "--api {base}: it has to be http://HOST:PORT"
        );
        let token = match &args.token_file {
            Some(path) => Some(
                fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?
                    .trim()
                    .to_string(),
            ),
            None => std::env::var(ENV_TOKEN).ok().filter(|token| !token.is_empty()),
        };
        Ok(Self { agent: agent(Some(PATIENCE)), patient: agent(None), base, token })
    }

    /// Out of the environment, for who can do without a daemon and does not wait for it.
    pub fn quick() -> Result<Self> {
        const PATIENCE: Duration = Duration::from_secs(2);
        Ok(Self { agent: agent(Some(PATIENCE)), ..Self::new(&ApiArgs::default())? })
    }

    /// Whether its daemon is on this machine, by its address.
    pub fn is_here(&self) -> bool {
        let host = self.base.split("//").nth(1).unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here))
    }

    /// For an address and a token that are known.
    pub fn with_token(base: String, token: String) -> Self {
        Self { agent: agent(Some(PATIENCE)), patient: agent(None), base, token: Some(token) }
    }

    /// True if something listens there; for commands that can do without a daemon.
    pub fn is_there(&self) -> bool {
        self.get::<Value>("/api/status").is_ok()
    }

    fn authorization(&self) -> String {
        self.token.as_ref().map_or_else(String::new, |token| format!("Bearer {token}"))
    }

    /// What an exchange that failed means for a person.
    fn unreachable(&self, error: &ureq::Error) -> anyhow::Error {
        let base = &self.base;
        match error {
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                anyhow!(
                    "no daemon answers at {base}: start it with `compotastic up`, or say where it is with --api URL or {ENV_API}"
                )
            }
            ureq::Error::ConnectionFailed => {
                anyhow!(
                    "no daemon answers at {base}: start it with `compotastic up`, or say where it is with --api URL or {ENV_API}"
                )
            }
            ureq::Error::HostNotFound => anyhow!("there is no host of that name: {base}; see --api"),
            ureq::Error::Timeout(_) => {
                anyhow!("the daemon at {base} did not answer in time; its log says why")
            }
            error => anyhow!(
                "no proper answer from {base} ({error}); is it the API of `compotastic up`? See --api"
            ),
        }
    }

    fn check(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.body_mut().with_config().limit(1 << 20).read_to_string().unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem["detail"].as_str();
        match (status.as_u16(), detail) {
            (401, Some(_)) => {
                bail!("the daemon at {} asks for its token: --token-file FILE, or {ENV_TOKEN}", self.base)
            }
            (_, Some(detail)) => bail!("{detail}"),
            (status, None) => {
                bail!("{} answered {status}; is it the API of `compotastic up`? See --api", self.base)
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, mut answer: Response<Body>) -> Result<T> {
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES)
            .read_to_string()
            .map_err(|e| self.unreachable(&e))?;
        serde_json::from_str(&text).with_context(|| {
            format!("{} does not answer as this program expects; is it the API of `compotastic up`, of the same version?", self.base)
        })
    }

    /// Reads something.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request =
            self.agent.get(format!("{}{path}", self.base)).header("Authorization", self.authorization());
        let answer = self.check(request.call())?;
        self.read(answer)
    }

    /// Sends JSON.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.post_bytes(path, "application/json", &serde_json::to_vec(body)?)
    }

    /// Sends bytes.
    pub fn post_bytes<T: DeserializeOwned>(&self, path: &str, kind: &str, body: &[u8]) -> Result<T> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let request = request.header("Authorization", self.authorization()).header("Content-Type", kind);
        let answer = self.check(request.send(body))?;
        self.read(answer)
    }

    /// Does something that has no answer.
    pub fn act(&self, path: &str) -> Result<()> {
        let request =
            self.agent.post(format!("{}{path}", self.base)).header("Authorization", self.authorization());
        self.check(request.send_empty()).map(|_| ())
    }

    /// Removes something; what is left of it is the answer, if there is one.
    pub fn delete(&self, path: &str) -> Result<Option<Value>> {
        let request =
            self.agent.delete(format!("{}{path}", self.base)).header("Authorization", self.authorization());
        let answer = self.check(request.call())?;
        if answer.status().as_u16() == 204 { Ok(None) } else { self.read(answer).map(Some) }
    }

    /// Follows events from here on. The iterator waits for each; it ends when the daemon does.
    pub fn events(&self, path: &str) -> Result<Events> {
        let request =
            self.patient.get(format!("{}{path}", self.base)).header("Authorization", self.authorization());
        let answer = self.check(request.call())?;
        Ok(Events(BufReader::new(Box::new(answer.into_body().into_reader()))))
    }

    /// Follows a job to its end, over a restart of the daemon too; each new state is told.
    pub fn follow(&self, job: JobView, mut tell: impl FnMut(&JobView)) -> Result<JobView> {
        /// A daemon that is restarted is back by then.
        const RETRIES: u32 = 30;
        let mut job = job;
        tell(&job);
        let mut left = RETRIES;
        while !job.state.is_final() {
            let mut news = |next: JobView, job: &mut JobView| {
                if next.state != job.state {
                    *job = next;
                    tell(job);
                }
            };
            match self.events(&format!("/api/jobs/{}/events", job.id)) {
                Ok(events) => {
                    left = RETRIES;
                    for event in events {
                        if let Ok(next) = serde_json::from_value::<JobView>(event) {
                            news(next, &mut job);
                        }
                    }
                }
                Err(error) if left == 0 => {
                    return Err(error.context(format!("job {} goes on without this command", job.id)));
                }
                Err(_) => left -= 1,
            }
            if !job.state.is_final() {
                std::thread::sleep(Duration::from_secs(1));
                if let Ok(next) = self.get::<JobView>(&format!("/api/jobs/{}", job.id)) {
                    news(next, &mut job);
                }
            }
        }
        Ok(job)
    }
}

/// Data of server-sent events, as JSON.
pub struct Events(BufReader<Box<dyn Read + Send>>);

/// An event of the whole node, out of its data.
pub fn event(data: Value) -> Option<Event> {
    serde_json::from_value(data).ok()
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = Vec::new();
            // The daemon's events have one line of data each; a line that is longer than any of them ends it.
            let read = self.0.by_ref().take(1 << 20).read_until(b'\n', &mut line).ok()?;
            if read == 0 {
                return None;
            }
            let value = line.strip_prefix(b"data: ").and_then(|data| serde_json::from_slice(data).ok());
            if value.is_some() {
                return value;
            }
        }
    }
}
