package fakeaws

import (
	"crypto/rand"
	"encoding/xml"
	"net/http"
	"strings"
	"time"
)

// STS's answers: the Query protocol's XML.
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

func assumed(s *session, policySize int) assumeRoleResponse {
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

func callerIdentity(who *caller) getCallerIdentityResponse {
	account := ""
	if p := strings.Split(who.arn, ":"); len(p) > 4 {
		account = p[4]
	}
	return getCallerIdentityResponse{Namespace: stsNamespace, ARN: who.arn, UserID: "AIDADEMO", Account: account, RequestID: rand.Text()}
}

func writeSTSFault(w http.ResponseWriter, f *Fault) {
	at := "Sender"
	if f.Status >= http.StatusInternalServerError {
		at = "Receiver"
	}
	writeXML(w, "text/xml", f.Status, stsErrorResponse{Namespace: stsNamespace, Type: at, Code: f.Code, Message: f.Message, RequestID: rand.Text()})
}

func writeXML(w http.ResponseWriter, contentType string, status int, answer any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	// An error here is the client's going away: nobody is left to tell.
	if _, err := w.Write([]byte(xml.Header)); err == nil {
		_ = xml.NewEncoder(w).Encode(answer)
	}
}
