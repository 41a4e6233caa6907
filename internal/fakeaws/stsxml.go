package fakeaws

import (
	"crypto/rand"
	"encoding/xml"
	"net/http"
	"strings"
	"time"
)

// The XML of STS's Query protocol.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Examples

const stsNamespace = "https://sts.amazonaws.com/doc/" + stsVersion + "/"

type assumeRoleResponse struct {
	XMLName   xml.Name         `xml:"AssumeRoleResponse"`
	Namespace string           `xml:"xmlns,attr"`
	Result    assumeRoleResult `xml:"AssumeRoleResult"`
	RequestID string           `xml:"ResponseMetadata>RequestId"`
}

type assumeRoleResult struct {
	ARN              string `xml:"AssumedRoleUser>Arn"`
	AssumedRoleID    string `xml:"AssumedRoleUser>AssumedRoleId"`
	AccessKeyID      string `xml:"Credentials>AccessKeyId"`
	SecretAccessKey  string `xml:"Credentials>SecretAccessKey"`
	SessionToken     string `xml:"Credentials>SessionToken"`
	Expiration       string `xml:"Credentials>Expiration"`
	PackedPolicySize int    `xml:"PackedPolicySize,omitempty"` // percent
}

type getCallerIdentityResponse struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	Namespace string   `xml:"xmlns,attr"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type stsErrorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

func newAssumeRoleResponse(s *session, policySize int) assumeRoleResponse {
	return assumeRoleResponse{
		Namespace: stsNamespace,
		Result: assumeRoleResult{
			ARN:              s.arn(),
			AssumedRoleID:    "AROADEMO:" + s.name,
			AccessKeyID:      s.accessKeyID,
			SecretAccessKey:  s.secret,
			SessionToken:     s.token,
			Expiration:       s.expires.Format(time.RFC3339),
			PackedPolicySize: policySize * 100 / maxPolicyChars,
		},
		RequestID: rand.Text(),
	}
}

func newCallerIdentityResponse(caller *principal) getCallerIdentityResponse {
	account := ""
	if p := strings.Split(caller.arn, ":"); len(p) > 4 {
		account = p[4]
	}
	return getCallerIdentityResponse{
		Namespace: stsNamespace,
		ARN:       caller.arn,
		UserID:    "AIDADEMO",
		Account:   account,
		RequestID: rand.Text(),
	}
}

func writeSTSFault(w http.ResponseWriter, f *Fault) {
	faultType := "Sender"
	if f.Status >= http.StatusInternalServerError {
		faultType = "Receiver"
	}
	writeXML(w, "text/xml", f.Status, stsErrorResponse{
		Namespace: stsNamespace,
		Type:      faultType,
		Code:      f.Code,
		Message:   f.Message,
		RequestID: rand.Text(),
	})
}

func writeXML(w http.ResponseWriter, contentType string, status int, response any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	// Write errors are ignored: the client is gone.
	if _, err := w.Write([]byte(xml.Header)); err == nil {
		_ = xml.NewEncoder(w).Encode(response)
	}
}
