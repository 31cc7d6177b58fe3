// Verifies a Sigstore bundle with npm's @sigstore/verify: node js_verify.js BUNDLE PUBLIC_KEY
const fs = require("fs"), crypto = require("crypto");
const { Verifier, toSignedEntity } = require("@sigstore/verify");
const { bundleFromJSON } = require("@sigstore/bundle");
const [bundleFile, keyFile] = process.argv.slice(2);
const key = crypto.createPublicKey(fs.readFileSync(keyFile));
const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(bundleFile)));
const material = {
  certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
  publicKey: () => ({ publicKey: key, validFor: () => true }),
};
const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
new Verifier(material, none).verify(toSignedEntity(bundle));
console.log("verified");
