package bspay

import (
	"net/http"
	"strings"

	"github.com/ssg-safe/agent/providers"
)

// failure is what an unsuccessful answer says of itself. Its texts are not
// clean yet.
type failure struct {
	code, message string
	retryable     *bool
}

// parseFailure reads an error body as far as it goes: the API's envelope, or
// OAuth's {error, error_description}. It never fails; all may be empty.
func parseFailure(body []byte) failure {
	var in map[string]any
	if err := providers.DecodeJSON(body, &in); err != nil {
		return failure{}
	}
	text := func(from map[string]any, name string) string {
		s, _ := from[name].(string)
		return s
	}
	var f failure
	switch e := in["error"].(type) {
	case map[string]any:
		f.code, f.message = text(e, "code"), text(e, "message")
		if r, ok := e["retryable"].(bool); ok {
			f.retryable = &r
		}
	case string:
		f.code, f.message = e, text(in, "error_description")
	}
	if f.message == "" {
		f.message = text(in, "message")
	}
	return f
}

// codes maps the provider's error codes; what they leave open is decided by the
// HTTP status. A server that cannot now, or failed, may have failed after it did
// the work: asking again with the same external_id is safe for a charge, and a
// payout is looked for first.
var codes = map[string]providers.Kind{
	"MISSING_REQUIRED_FIELD": providers.Invalid, "SELF_TRANSFER_BLOCKED": providers.Invalid,

	"MISSING_AUTH_HEADER": providers.Auth, "INVALID_AUTH_FORMAT": providers.Auth, "INVALID_CREDENTIALS": providers.Auth,
	"UNAUTHORIZED": providers.Auth, "TOKEN_EXPIRED": providers.Auth, "CREDENTIAL_PENDING_ADMIN_ACTIVATION": providers.Auth,
	"INVALID_SIGNATURE": providers.Auth, "MISSING_SIGNATURE": providers.Auth, "MISSING_TIMESTAMP": providers.Auth, "MISSING_NONCE": providers.Auth,

	"BELOW_MIN_LIMIT": providers.Limit, "EXCEEDS_MAX_LIMIT": providers.Limit, "LIMIT_EXCEEDED": providers.Limit,
	"INSUFFICIENT_BALANCE": providers.Funds, "INSUFFICIENT_FUNDS": providers.Funds,

	"KYC_REQUIRED": providers.Operator, "PERMISSION_DENIED": providers.Operator, "FORBIDDEN": providers.Operator,
	"UNAUTHORIZED_IP": providers.Operator, "IP_BLACKLISTED": providers.Operator, "SECURITY_BLOCKED": providers.Operator,
	"ACCOUNT_UNDER_REVIEW": providers.Operator, "MISSING_FEE_CONFIG": providers.Operator, "INVALID_OTP": providers.Operator,

	"RATE_LIMIT_EXCEEDED": providers.Rate, "IP_BLOCKED_TEMPORARILY": providers.Rate,

	"PROVIDER_ERROR": providers.Ambiguous, "SERVICE_UNAVAILABLE": providers.Ambiguous, "INTERNAL_ERROR": providers.Ambiguous,
	codeConflict: providers.Ambiguous,
	// Refused before anything was done, and once more would not have helped.
	codeReplay: providers.Unavailable, codeTimestamp: providers.Unavailable,

	codeDuplicate: providers.Conflict, codeDuplicateResource: providers.Conflict,
}

// Codes that the adapter acts on.
const (
	codeConflict          = "INTERNAL_CONFLICT"
	codeReplay            = "REPLAY_DETECTED"
	codeTimestamp         = "INVALID_TIMESTAMP"
	codeDuplicate         = "DUPLICATE_EXTERNAL_ID"
	codeDuplicateResource = "DUPLICATE_RESOURCE"
	codeApproval          = "PENDING_APPROVAL"
)

// duplicate says that the external_id exists.
func (f failure) duplicate() bool { return f.code == codeDuplicate || f.code == codeDuplicateResource }

// again says that a signed request may be sent once more, with a new nonce and
// the provider's time.
func (f failure) again() bool {
	return f.code == codeConflict || f.code == codeReplay || f.code == codeTimestamp
}

// kind classifies a refusal with an HTTP status. moves says that the request
// moves money out: there, what the provider says of trying again may forbid it,
// and never allow it.
func (f failure) kind(status int, moves bool) providers.Kind {
	kind, known := codes[f.code]
	switch {
	case known:
	case status >= 500: // a code we do not know proves nothing
		kind = providers.Ambiguous
	case strings.HasPrefix(f.code, "INVALID_"), strings.HasPrefix(f.code, "UNSUPPORTED_"):
		kind = providers.Invalid
	default:
		kind = providers.KindOfStatus(status)
	}
	if status >= 500 && !kind.OutcomeUnknown() {
		kind = providers.Ambiguous
	}
	if moves && (kind == providers.Rate || kind == providers.Unavailable) && f.retryable != nil && !*f.retryable {
		kind = providers.Operator
	}
	return kind
}

// stale reports whether a 401 is about the token, and not about a signature.
func stale(a providers.Answer) bool {
	switch f := parseFailure(a.Body); f.code {
	case codeReplay, codeTimestamp, "INVALID_SIGNATURE", "MISSING_SIGNATURE", "MISSING_TIMESTAMP", "MISSING_NONCE":
		return false
	}
	return a.Status == http.StatusUnauthorized
}
