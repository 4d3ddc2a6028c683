//! Where the step says it runs. All of it is *asserted*: users can override any of these variables, and only the step token attests.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::env::{Environment, Mistakes};

#[derive(Default, Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the fields are named like their variables")]
struct Raw {
    bitbucket_workspace: Option<String>,
    bitbucket_repo_slug: Option<String>,
    bitbucket_repo_uuid: Option<String>,
    bitbucket_commit: Option<String>,
    bitbucket_branch: Option<String>,
    bitbucket_tag: Option<String>,
    bitbucket_pr_id: Option<String>,
    bitbucket_build_number: Option<String>,
    bitbucket_pipeline_uuid: Option<String>,
    bitbucket_step_uuid: Option<String>,
    bitbucket_step_run_number: Option<String>,
    bitbucket_deployment_environment: Option<String>,
    bitbucket_deployment_environment_uuid: Option<String>,
}

macro_rules! text_types {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_types! {
    /// The name of a workspace or repository in URLs.
    Slug;
    /// The full hash of a commit: 40 hex digits.
    CommitHash;
    /// A UUID with Bitbucket's braces: `{…}`.
    Uuid;
}

impl Slug {
    /// Return nothing for what no slug is: `..` would lead to another resource of Bitbucket's API.
    fn parse(text: String) -> Option<Self> {
        let is_slug = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !text.trim_matches('.').is_empty();
        is_slug.then_some(Self(text))
    }
}

impl CommitHash {
    fn parse(text: String) -> Option<Self> {
        let is_hash = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then_some(Self(text))
    }

    /// Return the first characters, as Bitbucket shows them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// The default variables of a step.
/// Source: <https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepContext {
    pub workspace: Slug,
    pub repository: Slug,
    pub repository_uuid: Uuid,
    pub commit: CommitHash,
    /// The source branch; absent on tag builds.
    pub branch: Option<String>,
    /// Tag builds only.
    pub tag: Option<String>,
    /// Pull request builds only.
    pub pull_request: Option<u64>,
    /// The number of the pipeline's run.
    pub build_number: u64,
    pub pipeline_uuid: Uuid,
    pub step_uuid: Uuid,
    /// 1, and one more for each re-run.
    pub step_run_number: Option<u64>,
    /// The environment's name; deployment steps only.
    pub environment: Option<String>,
    /// Deployment steps only.
    pub environment_uuid: Option<Uuid>,
}

/// Whole numbers from here on are not all doubles, and the receiver refuses them.
const END_OF_NUMBERS: u64 = 1 << 53;
const OUTSIDE: &str = "Bitbucket Pipelines sets it; to run the pipe elsewhere, pass it yourself";

impl StepContext {
    /// Read the default variables; absent or malformed ones are noted in `mistakes`.
    pub(super) fn read(environment: &Environment, mistakes: &mut Mistakes) -> Option<Self> {
        let raw: Raw = environment.read(&[], mistakes);
        let mut number = |name: &'static str, value: Option<String>| {
            let value = value?;
            let number = value.parse::<u64>().ok().filter(|number| *number < END_OF_NUMBERS);
            if number.is_none() {
                mistakes.add(name, format!("is `{value}`, not a whole number below 2^53"), OUTSIDE);
            }
            number
        };
        let has_build_number = raw.bitbucket_build_number.is_some();
        let build_number = number("BITBUCKET_BUILD_NUMBER", raw.bitbucket_build_number);
        let step_run_number = number("BITBUCKET_STEP_RUN_NUMBER", raw.bitbucket_step_run_number);
        let pull_request = number("BITBUCKET_PR_ID", raw.bitbucket_pr_id);
        if !has_build_number {
            mistakes.add("BITBUCKET_BUILD_NUMBER", "is missing", OUTSIDE);
        }
        let workspace = mistakes.require("BITBUCKET_WORKSPACE", raw.bitbucket_workspace, OUTSIDE);
        let repository = mistakes.require("BITBUCKET_REPO_SLUG", raw.bitbucket_repo_slug, OUTSIDE);
        let repository_uuid = mistakes.require("BITBUCKET_REPO_UUID", raw.bitbucket_repo_uuid, OUTSIDE);
        let commit = mistakes.require("BITBUCKET_COMMIT", raw.bitbucket_commit, OUTSIDE);
        let pipeline_uuid = mistakes.require("BITBUCKET_PIPELINE_UUID", raw.bitbucket_pipeline_uuid, OUTSIDE);
        let step_uuid = mistakes.require("BITBUCKET_STEP_UUID", raw.bitbucket_step_uuid, OUTSIDE);
        let mut formed = |name, what, is_formed: bool| {
            if !is_formed {
                mistakes.add(name, what, OUTSIDE);
            }
        };
        let (workspace, repository, commit) =
            (workspace.map(Slug::parse), repository.map(Slug::parse), commit.map(CommitHash::parse));
        formed("BITBUCKET_WORKSPACE", "is not a slug", workspace != Some(None));
        formed("BITBUCKET_REPO_SLUG", "is not a slug", repository != Some(None));
        formed("BITBUCKET_COMMIT", "is not a full commit hash", commit != Some(None));
        Some(Self {
            workspace: workspace??,
            repository: repository??,
            repository_uuid: Uuid(repository_uuid?),
            commit: commit??,
            branch: raw.bitbucket_branch,
            tag: raw.bitbucket_tag,
            pull_request,
            build_number: build_number?,
            pipeline_uuid: Uuid(pipeline_uuid?),
            step_uuid: Uuid(step_uuid?),
            step_run_number,
            environment: raw.bitbucket_deployment_environment,
            environment_uuid: raw.bitbucket_deployment_environment_uuid.map(Uuid),
        })
    }

    /// Return `workspace/repository`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.workspace, self.repository)
    }

    /// Return where a person finds the repository.
    pub fn repository_url(&self) -> String {
        format!("https://bitbucket.org/{}", self.full_name())
    }

    /// Return where a person finds this run.
    pub fn results_url(&self) -> String {
        format!("{}/pipelines/results/{}", self.repository_url(), self.build_number)
    }

    /// Return one line for the log.
    pub fn summary(&self) -> String {
        let reference = match (&self.tag, &self.branch) {
            (Some(tag), _) => format!("tag {tag}"),
            (None, Some(branch)) => branch.clone(),
            (None, None) => "no branch".to_owned(),
        };
        let mut line = format!("{} · {reference} · {}", self.full_name(), self.commit.short());
        if let Some(environment) = &self.environment {
            line.push_str(&format!(" · {environment}"));
        }
        line.push_str(&format!(" · build {}", self.build_number));
        line
    }
}
