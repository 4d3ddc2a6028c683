//! Where the step says it runs. All of it is *asserted*: users can override any of these variables, and only the step token attests.

use serde::{Deserialize, Serialize};

use crate::environment::{Environment, Mistakes};

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

/// The default variables of a step. UUIDs keep Bitbucket's braces.
/// Source: <https://support.atlassian.com/bitbucket-cloud/docs/variables-and-secrets/>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// Workspace slug.
    pub workspace: String,
    /// Repository slug.
    pub repository: String,
    /// `{…}`
    pub repository_uuid: String,
    /// Full hash.
    pub commit: String,
    /// Source branch; absent on tag builds.
    pub branch: Option<String>,
    /// Tag builds only.
    pub tag: Option<String>,
    /// Pull request builds only.
    pub pull_request: Option<u64>,
    /// The number of the pipeline's run.
    pub build_number: u64,
    /// `{…}`
    pub pipeline_uuid: String,
    /// `{…}`
    pub step_uuid: String,
    /// 1, and one more for each re-run.
    pub step_run_number: Option<u64>,
    /// The environment's name; deployment steps only.
    pub environment: Option<String>,
    /// `{…}`; deployment steps only.
    pub environment_uuid: Option<String>,
}

/// Whole numbers from here on are not all doubles, and the receiver refuses them.
const END_OF_NUMBERS: u64 = 1 << 53;
const OUTSIDE: &str = "Bitbucket Pipelines sets it; to run the pipe elsewhere, pass it yourself";

impl Pipeline {
    /// Reads the default variables; absent or malformed ones are noted in `mistakes`.
    pub fn read(environment: &Environment, mistakes: &mut Mistakes) -> Option<Self> {
        let raw: Raw = environment.read(&[], mistakes);
        let mut number = |name: &'static str, value: Option<String>| {
            let value = value?;
            let number = value.parse::<u64>().ok().filter(|number| *number < END_OF_NUMBERS);
            if number.is_none() {
                mistakes.add(name, format!("is `{value}`, not a whole number below 2^53"), OUTSIDE);
            }
            number
        };
        let build_number = number("BITBUCKET_BUILD_NUMBER", raw.bitbucket_build_number.clone());
        let step_run_number = number("BITBUCKET_STEP_RUN_NUMBER", raw.bitbucket_step_run_number);
        let pull_request = number("BITBUCKET_PR_ID", raw.bitbucket_pr_id);
        if raw.bitbucket_build_number.is_none() {
            mistakes.add("BITBUCKET_BUILD_NUMBER", "is missing", OUTSIDE);
        }
        let mut text = |name, value: Option<String>| mistakes.require(name, value, OUTSIDE);
        let workspace = text("BITBUCKET_WORKSPACE", raw.bitbucket_workspace);
        let repository = text("BITBUCKET_REPO_SLUG", raw.bitbucket_repo_slug);
        let repository_uuid = text("BITBUCKET_REPO_UUID", raw.bitbucket_repo_uuid);
        let commit = text("BITBUCKET_COMMIT", raw.bitbucket_commit);
        let pipeline_uuid = text("BITBUCKET_PIPELINE_UUID", raw.bitbucket_pipeline_uuid);
        let step_uuid = text("BITBUCKET_STEP_UUID", raw.bitbucket_step_uuid);
        for (name, slug) in [
            ("BITBUCKET_WORKSPACE", &workspace),
            ("BITBUCKET_REPO_SLUG", &repository),
        ] {
            if slug.as_deref().is_some_and(|slug| !is_slug(slug)) {
                mistakes.add(name, "is not a slug", OUTSIDE);
            }
        }
        if commit.as_deref().is_some_and(|commit| !is_hash(commit)) {
            mistakes.add("BITBUCKET_COMMIT", "is not a full commit hash", OUTSIDE);
        }
        Some(Self {
            workspace: workspace?,
            repository: repository?,
            repository_uuid: repository_uuid?,
            commit: commit?,
            branch: raw.bitbucket_branch,
            tag: raw.bitbucket_tag,
            pull_request,
            build_number: build_number?,
            pipeline_uuid: pipeline_uuid?,
            step_uuid: step_uuid?,
            step_run_number,
            environment: raw.bitbucket_deployment_environment,
            environment_uuid: raw.bitbucket_deployment_environment_uuid,
        })
    }

    /// `acme/api`
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.workspace, self.repository)
    }

    /// Where a person finds the repository.
    #[must_use]
    pub fn repository_url(&self) -> String {
        format!("https://bitbucket.org/{}", self.full_name())
    }

    /// Where a person finds this run.
    #[must_use]
    pub fn results_url(&self) -> String {
        format!("{}/pipelines/results/{}", self.repository_url(), self.build_number)
    }

    /// The first characters of the commit, as Bitbucket shows it.
    #[must_use]
    pub fn short_commit(&self) -> &str {
        self.commit.get(..7).unwrap_or(&self.commit)
    }

    /// One line for the log.
    #[must_use]
    pub fn summary(&self) -> String {
        let reference = match (&self.tag, &self.branch) {
            (Some(tag), _) => format!("tag {tag}"),
            (None, Some(branch)) => branch.clone(),
            (None, None) => "no branch".to_owned(),
        };
        let mut line = format!("{} · {reference} · {}", self.full_name(), self.short_commit());
        if let Some(environment) = &self.environment {
            line.push_str(&format!(" · {environment}"));
        }
        line.push_str(&format!(" · build {}", self.build_number));
        line
    }
}

/// What Bitbucket makes slugs of. `..` would lead to another resource of its API.
fn is_slug(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !text.trim_matches('.').is_empty()
}

fn is_hash(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
