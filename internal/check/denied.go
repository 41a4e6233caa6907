package check

// explainAccessDenied names the action that was denied, and the policy that denied it, as far as
// STS reveals it. AssumeRole requires sts:TagSession and sts:SetSourceIdentity besides
// sts:AssumeRole if the caller's own session has tags or a source identity.
//
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
//   - https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
func (p *probe) explainAccessDenied(r errorResponse) explanation {
	action := r.action(assumeRole)
	assume, trust := p.policyCommand("assume"), p.policyCommand("trust")
	if action != assumeRole {
		assume, trust = p.policyCommand("assume --with-tags"), p.policyCommand("trust --with-tags")
	}
	ownPolicy := "Allow the proxy's own principal " + action + " on the role: " + assume
	trustPolicy := "Allow " + action + " in the role's trust policy. The expected policy: " + trust
	if r.mentions("explicit deny") {
		ownPolicy = "Find the Deny statement in the policies of the proxy's own principal, and " +
			"exempt the role from it. The policy must allow this: " + assume
		trustPolicy = "Remove the Deny statement that matches the proxy's principal from the " +
			"role's trust policy. The expected policy: " + trust
	}
	switch {
	case r.mentions("service control policy", "resource control policy"):
		return explanation{
			"a policy of the AWS organization denies it: " + r.String(),
			"Ask the organization's administrators to allow " + action + " between the accounts.",
		}
	case r.mentions("vpc endpoint policy"):
		return explanation{
			"the policy of the VPC endpoint of STS denies it: " + r.String(),
			"Allow " + action + " on the role in the policy of the VPC endpoint.",
		}
	case r.mentions("permissions boundary"):
		return explanation{
			"the permissions boundary of the proxy's own principal denies it: " + r.String(),
			"Add " + action + " for the role to that boundary.",
		}
	case r.mentions("session policy"):
		return explanation{
			"the session policy of the proxy's own session does not allow " + action + ": " +
				r.String(),
			"Allow " + action + " on the role in the session policy that the proxy's own session " +
				"was issued with, such as the policy of its EKS Pod Identity association; or issue " +
				"the session without a session policy.",
		}
	case r.mentions("identity-based policy"):
		return explanation{
			"the policy of the proxy's own principal does not allow " + action + ": " + r.String(),
			ownPolicy,
		}
	case r.mentions("resource-based policy", "trust policy"):
		return explanation{
			"the role's trust policy does not allow the proxy " + action + ": " + r.String(),
			trustPolicy,
		}
	case action != assumeRole:
		return explanation{
			"STS denied " + action + ", which AssumeRole requires in addition if the proxy's own " +
				"session has tags or a source identity, as with EKS Pod Identity: " + r.String(),
			"Allow the action in the role's trust policy: " + trust + "; and in the policy of the " +
				"proxy's own principal: " + assume,
		}
	}
	return p.explainUnknownDenial(r)
}

const assumeRole = "sts:AssumeRole"

// explainUnknownDenial lists the possible causes of a denial that STS does not explain. To other
// accounts, STS does not distinguish a missing role, a trust policy without the caller, and a wrong
// external ID.
func (p *probe) explainUnknownDenial(r errorResponse) explanation {
	externalID, trustPolicy := "requires another external ID", p.compareTrustPolicy()
	if p.i.ExternalID == "" {
		externalID = "requires an external ID, which the integration does not have"
		trustPolicy = "If the role's owner gave you an external ID, set external_id. " + trustPolicy
	}
	e := explanation{
		reason: "STS denied " + assumeRole + " and does not reveal why to other accounts: the role " +
			p.i.RoleARN + " does not exist, or its trust policy does not name the proxy, or it " +
			externalID,
		remedy: trustPolicy,
	}
	caller := account(p.caller)
	if caller != "" && caller != account(p.i.RoleARN) && p.i.IsAWS() {
		e.reason += ", or the policy of the proxy's own principal does not allow assuming the " +
			"role (it must, because the role is in another account)"
		e.remedy += "; and compare the principal's policy with: " + p.policyCommand("assume")
	}
	e.reason += ": " + r.String()
	return e
}
