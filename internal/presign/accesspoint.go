package presign

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"s3redirect/internal/partition"
)

// AccessPoint is an access point of a general purpose bucket.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
type AccessPoint struct {
	Partition, Region, Account, Name string
}

var (
	accessPointARN = regexp.MustCompile(`^arn:(aws(?:-[a-z]+)*):s3:([a-z0-9-]+):([0-9]{12}):` +
		`accesspoint/([a-z0-9][a-z0-9-]{1,48}[a-z0-9])$`)
	errAccessPointARN = errors.New("not the ARN of an access point; " +
		"write it as arn:aws:s3:eu-central-1:123456789012:accesspoint/NAME")
)

// What AWS has besides buckets and their access points, with the reason why it is not supported.
var (
	errDirectory = errors.New("directory buckets (S3 Express) are not supported: " +
		"their requests are signed with sessions of CreateSession, which last 5 minutes")
	errMultiRegion = errors.New("multi-Region access points are not supported: " +
		"their requests need another signature, SigV4A; " +
		"use an access point of one region, or the bucket")
	errOutposts = errors.New("access points of S3 on Outposts are not supported: " +
		"their requests are signed for another service, s3-outposts")
	errObjectLambda = errors.New("Object Lambda access points are not supported: " +
		"their requests are signed for another service, s3-object-lambda")
)

// CheckSupported returns an error with the reason if a name is not of a bucket but of something
// else at AWS whose URLs cannot be presigned here.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func CheckSupported(name string) error {
	if strings.HasPrefix(name, "arn:") {
		if _, err := ParseAccessPoint(name); err != nil && !errors.Is(err, errAccessPointARN) {
			return err
		}
		return errors.New("a bucket is given by its name, an access point as access_point")
	}
	for suffix, err := range map[string]error{
		"--x-s3": errDirectory, "--xa-s3": errDirectory, ".mrap": errMultiRegion,
		"--op-s3": errOutposts, "--ol-s3": errObjectLambda,
	} {
		if strings.HasSuffix(name, suffix) {
			return err
		}
	}
	return nil
}

// ParseAccessPoint parses the ARN of an access point. The error has the reason if the ARN is of a
// resource whose URLs cannot be presigned here.
func ParseAccessPoint(arn string) (AccessPoint, error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return AccessPoint{}, errAccessPointARN
	}
	switch service, resource := parts[2], parts[5]; {
	case service == "s3-outposts":
		return AccessPoint{}, errOutposts
	case service == "s3express":
		return AccessPoint{}, errDirectory
	case service == "s3-object-lambda":
		return AccessPoint{}, errObjectLambda
	case service == "s3" && strings.HasSuffix(resource, ".mrap"):
		return AccessPoint{}, errMultiRegion
	}
	m := accessPointARN.FindStringSubmatch(arn)
	if m == nil {
		return AccessPoint{}, errAccessPointARN
	}
	p := AccessPoint{Partition: m[1], Region: m[2], Account: m[3], Name: m[4]}
	if of := partition.Of(p.Region).Name; of != p.Partition {
		return AccessPoint{}, fmt.Errorf("the region %s is in the partition %s, not in %s",
			p.Region, of, p.Partition)
	}
	return p, nil
}

// CheckAccessPoint returns an error if AWS does not have the host for an access point.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-restrictions-limitations.html
func (h Host) CheckAccessPoint(p AccessPoint) error {
	switch {
	case h.Accelerate:
		return errors.New("access points have no acceleration; remove accelerate")
	case h.PathStyle:
		return errors.New("access points are in the host name; remove path_style")
	}
	return h.Check(p.Region, p.Name)
}

// Endpoint returns the endpoint of the access point's objects.
func (p AccessPoint) Endpoint(h Host) *Endpoint {
	return newEndpoint("https", h.name("s3-accesspoint", p.Region), p.Name+"-"+p.Account, false)
}
