/** `make certs`: certificates for development. NAME=billing issues one more, for a client of that name. */
import { CERTS_FOLDER, ensureCertificates } from './certs-folder.ts';
import { repositoryFolder } from './data-folder.ts';

process.chdir(repositoryFolder);
const [name = ''] = process.argv.slice(2);
if (name !== '' && (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(name) || ['ca', 'server'].includes(name))) {
  console.error('NAME is that of a client: lower-case letters, digits and hyphens, neither ca nor server.');
  process.exit(1);
}
const files = await ensureCertificates(new Date(), name === '' ? [] : [name]);
for (const { file, isNew } of files) console.log(`${isNew ? 'written' : 'kept   '} ${file}`);
console.log(`The key of each is beside it, as ${CERTS_FOLDER}/…-key.pem.`);
