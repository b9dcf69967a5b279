// A real provider of OpenID Connect, for tests: oidc-provider with its own pages for login and consent.
//
// usage: node oidc-provider.mjs REDIRECT CLIENT_ID CLIENT_SECRET
// Prints its issuer. Each name that somebody logs in with is a person of that name, with an email in example.org, and a
// member of the group that is the part of the name before the first "-".
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [redirect, client_id, client_secret] = process.argv.slice(2);
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id, client_secret, redirect_uris: [redirect] }],
    claims: { openid: ['sub', 'groups'], profile: ['preferred_username'], email: ['email', 'email_verified'] },
    pkce: { required: () => true },
    cookies: { keys: ['of a test'] },
    async findAccount(_, id) {
      const groups = [id.split('-')[0]];
      const claims = { preferred_username: id, email: `${id}@example.org`, email_verified: true, groups };
      return { accountId: id, claims: async () => ({ sub: id, ...claims }) };
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
  server.on('request', provider.callback());
  console.log(issuer);
});
