// Verifies a webhook with the client library of Standard Webhooks, for tests.
//
// Reads {"secret": …, "headers": {…}, "body": …} from standard input. Prints the payload, or ends with 1.
import { readFileSync } from 'node:fs';
import { Webhook } from 'standardwebhooks';

const { secret, headers, body } = JSON.parse(readFileSync(0, 'utf8'));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
