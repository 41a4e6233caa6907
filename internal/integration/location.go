package integration

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"s3redirect/internal/config"
	"s3redirect/internal/presign"
)

// DefaultRegion is the region of a bucket whose store does not report one. It is also the region
// that GetBucketLocation is signed for: stores accept it from every client.
const DefaultRegion = "us-east-1"

// Question asks for the region of a bucket.
type Question struct {
	Integration *config.Integration
	Bucket      string
	// Client must not follow redirects (see [NoRedirects]).
	Client *http.Client
	Clock  func() time.Time
	// Credentials returns the credentials that sign GetBucketLocation. It is called only if the
	// store does not report the region to an unsigned request. Credentials without a key mean that
	// there are none.
	Credentials func(context.Context) (presign.Credentials, error)
}

// Ask returns the region of a bucket, and reports whether the store told it. AWS reports it to an
// unsigned HeadBucket. Most other stores do not, so they get a signed GetBucketLocation as well. If
// they do not answer it, the region is [DefaultRegion]. The error wraps [ErrNoSuchBucket],
// [ErrRegionNotTold] (AWS only) or [ErrRegionUnavailable], or is one of Credentials.
func (q *Question) Ask(ctx context.Context) (region string, told bool, err error) {
	region, err = BucketRegion(ctx, q.Client, q.Integration.LookupEndpoint(q.Bucket).URL())
	if !errors.Is(err, ErrRegionNotTold) || q.Integration.IsAWS() {
		return region, err == nil, err
	}
	credentials, err := q.Credentials(ctx)
	if err != nil {
		return "", false, err
	}
	if credentials.AccessKeyID == "" {
		return DefaultRegion, false, nil
	}
	region, err = q.location(ctx, credentials)
	if errors.Is(err, ErrRegionNotTold) {
		return DefaultRegion, false, nil
	}
	return region, err == nil, err
}

const (
	locationLifetime = time.Minute // of the URL of GetBucketLocation
	maxLocation      = 64 << 10    // bytes that are read of its response
)

// location asks for the region with GetBucketLocation.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
func (q *Question) location(ctx context.Context, c presign.Credentials) (string, error) {
	signer, err := presign.NewSigner(c, DefaultRegion, q.Clock(), locationLifetime)
	if err != nil {
		return "", err
	}
	o := &presign.Object{
		Method:   http.MethodGet,
		Endpoint: q.Integration.BucketEndpoint(q.Bucket, DefaultRegion),
		Params:   "location=",
	}
	signed := string(signer.AppendURL(nil, o, signer.Sign(o)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, nil)
	if err != nil {
		return "", errors.New("invalid endpoint") // the error would contain the signed URL
	}
	resp, err := q.Client.Do(req)
	if err != nil {
		var failed *url.Error // contains the signed URL
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return "", fmt.Errorf("%w: %w", ErrRegionUnavailable, err)
	}
	defer resp.Body.Close()
	body := parseLocation(io.LimitReader(resp.Body, maxLocation))
	switch {
	case resp.StatusCode == http.StatusOK && body.root == "LocationConstraint":
		return regionOf(body.text)
	case body.Code == "NoSuchBucket":
		return "", ErrNoSuchBucket
	case wrongRegion(body.Code) && body.Region != "": // the store expects signatures for it
		return regionOf(body.Region)
	case resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		return "", fmt.Errorf("%w: the store answered %s", ErrRegionUnavailable, resp.Status)
	}
	return "", fmt.Errorf("%w: the store answered %s", ErrRegionNotTold, resp.Status)
}

// wrongRegion reports whether an error code means that a request was signed for another region.
func wrongRegion(code string) bool {
	return code == "AuthorizationHeaderMalformed" || code == "AuthorizationQueryParametersError"
}

var storeRegion = regexp.MustCompile(`^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$`)

// regionOf returns the region that a LocationConstraint names. Before regions had names, it was
// empty for the first region and EU for the second.
func regionOf(location string) (string, error) {
	switch location = strings.TrimSpace(location); {
	case location == "":
		return DefaultRegion, nil
	case location == "EU":
		return "eu-west-1", nil
	case len(location) > 64 || !storeRegion.MatchString(location):
		return "", fmt.Errorf("%w: it reports an invalid location", ErrRegionNotTold)
	}
	return location, nil
}

// locationBody is a response to GetBucketLocation: a LocationConstraint, or an error.
type locationBody struct {
	root string // the name of the root element
	text string // its text

	Code   string
	Region string
}

func parseLocation(from io.Reader) locationBody {
	var document struct {
		XMLName xml.Name
		Text    string `xml:",chardata"`
		Code    string
		Region  string
	}
	if xml.NewDecoder(from).Decode(&document) != nil {
		return locationBody{}
	}
	return locationBody{
		root: document.XMLName.Local, text: document.Text,
		Code: document.Code, Region: document.Region,
	}
}
