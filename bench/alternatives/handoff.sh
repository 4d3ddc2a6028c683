#!/usr/bin/env bash
# The pipe's flow as a team would script it: curl, openssl, jq. One try, no retries, no explanations, a status at the end.
set -euo pipefail

b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
sha256() { openssl dgst -sha256 -binary; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
openssl ecparam -name prime256v1 -genkey -noout -out "$work/key.pem"
point=$(openssl ec -in "$work/key.pem" -pubout -outform DER 2>/dev/null | tail -c 64 | od -An -v -tx1 | tr -d ' \n')
x=$(echo -n "${point:0:64}" | xxd -r -p | b64url)
y=$(echo -n "${point:64:64}" | xxd -r -p | b64url)

# A JWS by openssl: its signature is DER, ES256 wants r and s of 32 bytes each.
proof() {
    local header claims input numbers r s
    header=$(jq -cn --arg x "$x" --arg y "$y" '{typ:"dpop+jwt",alg:"ES256",jwk:{kty:"EC",crv:"P-256",x:$x,y:$y}}' | tr -d '\n' | b64url)
    claims=$(echo -n "$1" | b64url)
    input="$header.$claims"
    numbers=$(echo -n "$input" | openssl dgst -sha256 -sign "$work/key.pem" | openssl asn1parse -inform DER | sed -n 's/.*INTEGER *://p')
    r=$(printf '%064s' "$(sed -n 1p <<<"$numbers")" | tr ' ' 0)
    s=$(printf '%064s' "$(sed -n 2p <<<"$numbers")" | tr ' ' 0)
    echo -n "$input.$(echo -n "${r: -64}${s: -64}" | xxd -r -p | b64url)"
}

status() {
    curl --silent --show-error --fail --output /dev/null --cacert "${CA_CERTIFICATE:-/etc/ssl/certs/ca-certificates.crt}" \
        --header "Authorization: Bearer $BITBUCKET_ACCESS_TOKEN" --header 'Content-Type: application/json' \
        --data "$(jq -cn --arg state "$1" --arg key "handoff-$BITBUCKET_REPO_SLUG-$BITBUCKET_DEPLOYMENT_ENVIRONMENT" \
            --arg url "https://bitbucket.org/$BITBUCKET_REPO_FULL_NAME/pipelines/results/$BITBUCKET_BUILD_NUMBER" \
            '{type:"build",key:$key,state:$state,url:$url}')" \
        "$BITBUCKET_API_URL/2.0/repositories/$BITBUCKET_WORKSPACE/$BITBUCKET_REPO_SLUG/commit/$BITBUCKET_COMMIT/statuses/build"
}

ca=(--cacert "${CA_CERTIFICATE:-/etc/ssl/certs/ca-certificates.crt}")
status INPROGRESS
claims=$(jq -cn --arg htu "$RECEIVER_URL/token" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" '{htm:"POST",htu:$htu,iat:$iat,jti:$jti}')
token=$(curl --silent --show-error --fail "${ca[@]}" --header "DPoP: $(proof "$claims")" \
    --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
    --data-urlencode "subject_token=$BITBUCKET_STEP_OIDC_TOKEN" \
    --data-urlencode subject_token_type=urn:ietf:params:oauth:token-type:id_token \
    --data-urlencode requested_token_type=urn:ietf:params:oauth:token-type:access_token \
    --data-urlencode "resource=$RECEIVER_URL" "$RECEIVER_URL/token" | jq -r .access_token)

id=evt_$(openssl rand -hex 16)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
source=https://bitbucket.org/$BITBUCKET_REPO_FULL_NAME
jq -cn --arg id "$id" --arg now "$now" --arg source "$source" --arg type dev.cdevents.service.deployed.0.3.0 \
    --arg service "$BITBUCKET_REPO_SLUG" --arg environment "$BITBUCKET_DEPLOYMENT_ENVIRONMENT" \
    --arg artifact "pkg:bitbucket/$BITBUCKET_REPO_FULL_NAME@$BITBUCKET_COMMIT" \
    --arg workspace "$BITBUCKET_WORKSPACE" --arg workspace_uuid "$(cut -d. -f2 <<<"$BITBUCKET_STEP_OIDC_TOKEN" | tr '_-' '/+' | base64 -d 2>/dev/null | jq -r .workspaceUuid)" \
    --arg repository "$BITBUCKET_REPO_FULL_NAME" --arg repository_uuid "$BITBUCKET_REPO_UUID" --arg pipeline_uuid "$BITBUCKET_PIPELINE_UUID" \
    --arg step_uuid "$BITBUCKET_STEP_UUID" --arg branch "$BITBUCKET_BRANCH" --arg environment_uuid "$BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID" --arg commit "$BITBUCKET_COMMIT" \
    '{specversion:"1.0",id:$id,source:$source,type:$type,subject:$service,time:$now,datacontenttype:"application/json",
      data:{context:{specversion:"0.5.0",id:$id,source:$source,type:$type,timestamp:$now},
            subject:{id:$service,source:$source,content:{environment:{id:$environment,source:$source},artifactId:$artifact}},
            customData:{bitbucket:{workspace:$workspace,workspace_uuid:$workspace_uuid,repository:$repository,repository_uuid:$repository_uuid,
              pipeline_uuid:$pipeline_uuid,step_uuid:$step_uuid,branch:$branch,environment_uuid:$environment_uuid,commit:$commit},custom:{}}}}' \
    | tr -d '\n' >"$work/event.json"
digest="sha-256=:$(sha256 <"$work/event.json" | openssl base64 -A):"
claims=$(jq -cn --arg htu "$RECEIVER_URL/events" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" \
    --arg ath "$(echo -n "$token" | sha256 | b64url)" --arg digest "$digest" '{htm:"POST",htu:$htu,iat:$iat,jti:$jti,ath:$ath,content_digest:$digest}')
state=$(curl --silent --show-error --fail "${ca[@]}" --header "Authorization: DPoP $token" --header "DPoP: $(proof "$claims")" \
    --header "Content-Digest: $digest" --header 'Content-Type: application/cloudevents+json' \
    --header "webhook-id: $id" --header "webhook-timestamp: $(date +%s)" \
    --data-binary "@$work/event.json" "$RECEIVER_URL/events" | jq -r .state)
if [ "$state" = succeeded ]; then status SUCCESSFUL; else status FAILED; fi
echo "$id $state"
[ "$state" = succeeded ]
