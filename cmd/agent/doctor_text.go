package main

// What doctor says, in both languages. what may hold the arguments of the
// check; remedy is what a technician does next, and empty where there is
// nothing to do.
type advice struct{ what, remedy string }

// doctorTexts are the words of a language; Portuguese unless it is English.
func doctorTexts(locale string) map[string]advice {
	if locale == "en" {
		return doctorEnglish
	}
	return doctorPortuguese
}

var doctorPortuguese = map[string]advice{
	"config_ok":       {"configuração sem problemas: %s", ""},
	"config_warnings": {"%d avisos na configuração %s", "Veja cada um com: ssg-agent check --config ARQUIVO"},

	"clock_ok":       {"relógio sincronizado: %s", ""},
	"clock_unsynced": {"ninguém confirma o relógio: %s", "Se a hora estiver certa, basta ligar a sincronização: timedatectl set-ntp true. Sem rede, acerte a hora: timedatectl set-time 'AAAA-MM-DD HH:MM:SS'."},
	"clock_behind":   {"o relógio está atrasado; já passou de %s", "Acerte a hora (timedatectl set-time 'AAAA-MM-DD HH:MM:SS') e ligue a sincronização (timedatectl set-ntp true). Se voltar a atrasar depois de faltar energia, troque a bateria do relógio."},

	"disk_ok":         {"%s grava; %d MiB livres", ""},
	"disk_low":        {"%s tem só %d MiB livres", "Apague cópias e logs antigos desse disco: du -xh --max-depth=2 / | sort -h | tail"},
	"disk_full":       {"%s está cheio (%d MiB livres)", "Libere espaço: apague cópias e logs antigos (du -xh --max-depth=2 / | sort -h | tail; journalctl --vacuum-size=20M). Nunca apague store.db."},
	"disk_too_small":  {"%s tem %d MiB livres; o arquivo de dados precisa de %d MiB", "Use um disco maior, ou diminua [store] size na configuração."},
	"disk_read_only":  {"%s só pode ser lido", "O disco foi protegido depois de um erro. Veja com dmesg; faça uma cópia dos dados e troque o cartão ou disco se houver erros de leitura ou gravação."},
	"disk_permission": {"sem permissão para gravar em %s: %s", "Rode como o usuário do serviço ou como root; a pasta deve ser dele: ls -ld PASTA"},
	"disk_unwritable": {"não é possível gravar em %s: %s", "Veja com dmesg se o disco tem erros; se tiver, faça uma cópia dos dados e troque-o."},
	"disk_unreadable": {"não é possível examinar %s: %s", "Verifique se a partição de dados está montada: findmnt"},

	"store_ok":         {"dados íntegros: %d lançamentos, cabem cerca de %d", ""},
	"store_new":        {"terminal novo: %s será criado na primeira partida", ""},
	"store_in_use":     {"em uso pelo agente, que examinou os dados ao partir: %s", ""},
	"store_filling":    {"os dados enchem: %d lançamentos, cabem cerca de %d", "O que já foi enviado é apagado sozinho: verifique a ligação com a central, ou configure [archive]."},
	"store_full":       {"os dados estão cheios: %d lançamentos, cabem cerca de %d", "Nada novo é aceito até haver espaço. Restabeleça a ligação com a central, ou configure [archive] com uma pasta em outro disco, e reinicie o agente."},
	"store_damaged":    {"os dados estão danificados: %s", "Não apague nada. Pare o agente e restaure uma cópia: ssg-agent store restore --data PASTA --from CÓPIA. Guarde o arquivo danificado para a assistência."},
	"store_missing":    {"o arquivo de dados sumiu: %s", "Verifique se a partição de dados está montada (findmnt). Se o arquivo se perdeu, restaure uma cópia: ssg-agent store restore --data PASTA --from CÓPIA"},
	"store_newer":      {"os dados são de uma versão mais nova: %s", "Instale a versão mais nova do agente."},
	"store_unreadable": {"não é possível examinar os dados: %s", "Rode como root ou como o usuário do serviço. Se a mensagem falar de versão mais antiga, inicie o agente uma vez."},
	"store_place":      {"o lugar dos dados é arriscado: %s", "Siga o que a mensagem diz; a operação continua."},
	"identity_missing": {"a identidade do terminal não pode ser lida: %s", "Restaure identity.json da cópia de segurança, com modo 0600 e do usuário do serviço."},
	"dead_letters":     {"%d impressões esperam uma decisão", "Confira o papel e decida: ssg-agent queue list, depois queue retry (imprime 2ª via) ou queue drop."},
	"tickets_open":     {"%d diferenças com provedores esperam uma pessoa", "Veja cada uma e o prazo: ssg-agent tickets list. O que fazer está na seção \"Diferenças com o provedor\" de docs/operating.md."},
	"tickets_overdue":  {"%d de %d diferenças com provedores passaram do prazo", "Resolva-as já: ssg-agent tickets list; depois ssg-agent tickets close."},

	"port_ok":         {"%s está presente (%s)", ""},
	"port_missing":    {"%s não existe; presentes: %s", "Ligue o cabo e a impressora. Se o aparelho aparece com outro nome, corrija [printer] path ou a regra do udev."},
	"port_permission": {"sem permissão para usar %s", "Rode como root ou como o usuário do serviço; ele precisa dos grupos dialout e lp."},
	"port_unreadable": {"%s não pode ser examinado: %s", "Verifique o caminho em [printer] path."},

	"printer_ok":                 {"a impressora responde e está pronta", ""},
	"printer_none":               {"sem impressora na configuração", ""},
	"printer_paper_low":          {"o papel está no fim", "Troque a bobina em breve."},
	"printer_write_only":         {"a impressora não responde a perguntas: nada pode ser confirmado", "Para comprovantes confirmados use uma linha serial, USB ou TCP com uma impressora que responda."},
	"printer_held_by_agent":      {"a impressora está em uso pelo agente", "Veja o sinal Impressora na tela. Para examiná-la aqui, pare o agente: systemctl stop ssg-agent"},
	"printer_in_use":             {"outro programa usa a porta da impressora", "Descubra qual: fuser -v PORTA. Remova ModemManager e brltty do terminal."},
	"printer_unreachable":        {"a impressora não pode ser usada: %s", "Verifique cabo, porta e [printer] na configuração."},
	"printer_no_port":            {"a porta da impressora não abre%s", "Ligue a impressora e o cabo; verifique o caminho ou endereço em [printer]."},
	"printer_silent":             {"a porta abre, mas a impressora não responde%s", "Verifique se ela está ligada, se o cabo está firme nos dois lados, e se velocidade (baud) e controle de fluxo (flow) são os que a impressora imprime no autoteste (ligue-a com o botão de avanço apertado)."},
	"printer_offline":            {"a impressora está off-line%s", "Aperte o botão on-line, ou desligue e ligue a impressora."},
	"printer_cover_open":         {"a tampa da impressora está aberta%s", "Feche a tampa até ouvir o clique."},
	"printer_paper_out":          {"a impressora está sem papel%s", "Troque a bobina: o papel sai por cima, lado térmico para fora."},
	"printer_feed_button":        {"o botão de avanço está preso%s", "Solte o botão."},
	"printer_cutter_error":       {"a guilhotina travou%s", "Desligue a impressora, tire o papel preso e ligue-a de novo."},
	"printer_head_hot":           {"a cabeça de impressão está quente%s", "Espere alguns minutos; ela volta sozinha."},
	"printer_unrecoverable":      {"a impressora tem um defeito que ela não resolve%s", "Desligue-a por dez segundos e ligue-a. Se voltar, troque a impressora."},
	"printer_waits_for_recovery": {"a impressora espera depois de um erro%s", "Aperte o botão de avanço, ou desligue e ligue a impressora."},
	"print_confirmed":            {"o teste foi impresso e a impressora confirmou", "Confira no papel: letras com acento, linha cheia sem quebra, código legível, corte. Se as letras estiverem erradas, o perfil ([printer] profile) é de outro modelo."},
	"print_sent":                 {"o teste foi enviado; esta impressora não confirma", "Confira no papel se saiu inteiro."},
	"print_failed":               {"o teste não foi confirmado: %s", "Confira se saiu no papel. Se saiu inteiro, a impressora não conhece o comando de confirmação (GS ( H): veja a lista de modelos no README."},

	"display_ok":        {"tela de %d x %d; o código cabe. Veja se estes sinais aparecem: ▀▄█ ● ▲ × ã Ç õ", ""},
	"display_none":      {"sem tela na configuração", ""},
	"display_elsewhere": {"a tela do agente não pode ser vista daqui: %s", "Rode doctor no próprio terminal, ou dê em [display] tty o nome do console, como /dev/tty1."},
	"display_unusable":  {"a tela não pode ser usada: %s", "Verifique [display] tty e, no serviço, TERM=linux e LC_ALL=C.UTF-8."},
	"display_colours":   {"a tela tem menos de 8 cores: o código não pode ser mostrado", "Defina TERM=linux no console e tire NO_COLOR do ambiente."},
	"display_small":     {"tela de %d x %d: códigos longos não cabem, e não há impressora", "Use uma fonte menor (setfont) ou uma tela maior: 100 x 30 ou 60 x 50."},
	"display_paper":     {"tela de %d x %d: códigos longos não cabem e saem só no papel", "Use uma fonte menor (setfont) ou uma tela maior: 100 x 30 ou 60 x 50."},

	"menu_ok":  {"menu do operador: %d operadores", ""},
	"menu_off": {"menu do operador desligado: nenhum [[operator]]", ""},

	"network_ok":      {"endereço na rede: %s", ""},
	"network_none":    {"sem rede: nenhum endereço", "Verifique o cabo, o roteador ou o chip e a antena; depois: ip address. O agente funciona sem rede e envia tudo quando ela volta."},
	"network_unknown": {"a rede não pode ser examinada: %s", "Rode doctor fora do serviço, como root."},

	"provider_ok":            {"%s responde e aceita a credencial", ""},
	"provider_secret_unseen": {"a credencial de %s não pode ser vista daqui", "Rode como root: CREDENTIALS_DIRECTORY=/etc/ssg-agent/secrets ssg-agent doctor --config ARQUIVO"},
	"provider_config":        {"%s não pode ser usado: %s", "Veja os problemas com: ssg-agent check --config ARQUIVO"},
	"provider_unasked":       {"%s não tem como ser consultado sem criar uma cobrança", ""},
	"provider_credentials":   {"%s recusa a credencial: %s", "Confira client_id e o arquivo do segredo; se foi trocado no provedor, grave o novo e reinicie o agente."},
	"provider_forbidden":     {"%s não permite a consulta: %s", "Peça ao provedor as permissões da conta, e confira account e chave PIX na configuração."},
	"provider_busy":          {"%s pede menos consultas: %s", "Espere um minuto; se continuar, diminua requests_per_second."},
	"provider_operator":      {"%s precisa de uma providência: %s", "Confira url na configuração e fale com o provedor."},
	"provider_down":          {"%s está com problemas: %s", "Veja a página de status do provedor. O agente tenta de novo sozinho."},
	"provider_unreachable":   {"%s não é alcançado: %s", "Verifique rede, firewall e url na configuração."},
	"provider_dns":           {"o endereço de %s não é encontrado: %s", "Verifique a rede e o DNS (resolvectl status), e url na configuração."},

	"tls_time":        {"o certificado de %s não vale na hora deste relógio: %s", "Relógio errado? Veja a linha clock. Com o relógio certo, o certificado venceu: fale com quem opera o servidor."},
	"tls_certificate": {"o certificado de %s não é aceito: %s", "Alguém no meio do caminho (proxy, portal da rede)? Confira o endereço e, para a central, [fleet] ca."},

	"broker_ok":          {"%s é alcançado (a senha só é provada pelo agente)", ""},
	"broker_none":        {"sem central na configuração", ""},
	"broker_config":      {"a ligação com a central está mal configurada: %s", "Corrija os arquivos em [fleet] e rode: ssg-agent check --config ARQUIVO"},
	"broker_unreachable": {"%s não é alcançado: %s", "Verifique rede, firewall (porta 8883) e [fleet] brokers."},

	"facade_ok":          {"fachada SSG em %s", ""},
	"facade_plain":       {"a fachada SSG em %s fala HTTP sem criptografia", "Se os cofres conhecem TLS, configure [facade] certificate e private_key; senão, mantenha-os numa rede só deles."},
	"facade_certificate": {"o certificado da fachada não pode ser usado: %s", "Corrija os arquivos em [facade] e rode: ssg-agent check --config ARQUIVO"},
	"facade_expired":     {"o certificado da fachada venceu em %s", "Instale um novo; o agente passa a usá-lo sem reiniciar. Se a data parece certa, veja a linha clock."},
	"facade_expires":     {"o certificado da fachada vence em %s", "Instale um novo antes disso; o agente passa a usá-lo sem reiniciar."},
}

var doctorEnglish = map[string]advice{
	"config_ok":       {"no problems in the configuration: %s", ""},
	"config_warnings": {"%d warnings in the configuration %s", "See each one: ssg-agent check --config FILE"},

	"clock_ok":       {"clock is synchronised: %s", ""},
	"clock_unsynced": {"nobody confirms the clock: %s", "If the time is right, switch synchronisation on: timedatectl set-ntp true. Without a network set the time: timedatectl set-time 'YYYY-MM-DD HH:MM:SS'."},
	"clock_behind":   {"the clock is late; it is past %s", "Set the time (timedatectl set-time 'YYYY-MM-DD HH:MM:SS') and switch synchronisation on (timedatectl set-ntp true). If it is late again after a power cut, replace the clock's battery."},

	"disk_ok":         {"%s can be written; %d MiB free", ""},
	"disk_low":        {"%s has only %d MiB free", "Delete old copies and logs on that disk: du -xh --max-depth=2 / | sort -h | tail"},
	"disk_full":       {"%s is full (%d MiB free)", "Make room: delete old copies and logs (du -xh --max-depth=2 / | sort -h | tail; journalctl --vacuum-size=20M). Never delete store.db."},
	"disk_too_small":  {"%s has %d MiB free; the data file needs %d MiB", "Use a larger disk, or a smaller [store] size in the configuration."},
	"disk_read_only":  {"%s can only be read", "The disk was protected after an error. Look at dmesg; copy the data and replace the card or disk if it reports read or write errors."},
	"disk_permission": {"no permission to write to %s: %s", "Run as the service's user or as root; the folder must be its own: ls -ld FOLDER"},
	"disk_unwritable": {"%s cannot be written: %s", "Look at dmesg for errors of the disk; if there are any, copy the data and replace it."},
	"disk_unreadable": {"%s cannot be examined: %s", "See whether the data partition is mounted: findmnt"},

	"store_ok":         {"data in order: %d entries, about %d fit", ""},
	"store_new":        {"new terminal: %s will be made at the first start", ""},
	"store_in_use":     {"in use by the agent, which examined the data when it started: %s", ""},
	"store_filling":    {"the data are filling up: %d entries, about %d fit", "What was sent is deleted by itself: see to the link to the hub, or set [archive]."},
	"store_full":       {"the data are full: %d entries, about %d fit", "Nothing new is accepted until there is room. Restore the link to the hub, or set [archive] to a folder on another disk, and restart the agent."},
	"store_damaged":    {"the data are damaged: %s", "Delete nothing. Stop the agent and restore a backup: ssg-agent store restore --data FOLDER --from BACKUP. Keep the damaged file for support."},
	"store_missing":    {"the data file is gone: %s", "See whether the data partition is mounted (findmnt). If the file is lost, restore a backup: ssg-agent store restore --data FOLDER --from BACKUP"},
	"store_newer":      {"the data are of a newer version: %s", "Install the newer version of the agent."},
	"store_unreadable": {"the data cannot be examined: %s", "Run as root or as the service's user. If the message speaks of an older version, start the agent once."},
	"store_place":      {"the place of the data is risky: %s", "Do what the message says; the terminal goes on meanwhile."},
	"identity_missing": {"the terminal's identity cannot be read: %s", "Restore identity.json from its backup, mode 0600, owned by the service's user."},
	"dead_letters":     {"%d prints wait for a decision", "Look at the paper and decide: ssg-agent queue list, then queue retry (prints a copy) or queue drop."},
	"tickets_open":     {"%d differences with providers wait for a person", "See each and its deadline: ssg-agent tickets list. docs/reconciliation.md says what to do."},
	"tickets_overdue":  {"%d of %d differences with providers are past their deadline", "Settle them now: ssg-agent tickets list; then ssg-agent tickets close."},

	"port_ok":         {"%s is there (%s)", ""},
	"port_missing":    {"%s does not exist; there are: %s", "Plug in cable and printer. If the device has another name, correct [printer] path or the udev rule."},
	"port_permission": {"no permission to use %s", "Run as root or as the service's user; it needs the groups dialout and lp."},
	"port_unreadable": {"%s cannot be examined: %s", "See to the path in [printer] path."},

	"printer_ok":                 {"the printer answers and is ready", ""},
	"printer_none":               {"no printer in the configuration", ""},
	"printer_paper_low":          {"the paper is nearly out", "Change the roll soon."},
	"printer_write_only":         {"the printer answers no questions: nothing can be confirmed", "For confirmed receipts use a serial line, USB or TCP with a printer that answers."},
	"printer_held_by_agent":      {"the printer is in use by the agent", "See the Printer sign on the screen. To have it examined here, stop the agent: systemctl stop ssg-agent"},
	"printer_in_use":             {"another program uses the printer's port", "Find out which: fuser -v PORT. Remove ModemManager and brltty from the terminal."},
	"printer_unreachable":        {"the printer cannot be used: %s", "See to cable, port and [printer] in the configuration."},
	"printer_no_port":            {"the printer's port does not open%s", "Plug in printer and cable; see to path or address in [printer]."},
	"printer_silent":             {"the port opens, but the printer does not answer%s", "See that it is on, that the cable sits tight at both ends, and that speed (baud) and flow control (flow) are those the printer prints in its self-test (switch it on with the feed button held)."},
	"printer_offline":            {"the printer is offline%s", "Press its online button, or switch it off and on."},
	"printer_cover_open":         {"the printer's cover is open%s", "Close the cover until it clicks."},
	"printer_paper_out":          {"the printer has no paper%s", "Change the roll: paper comes from above, thermal side out."},
	"printer_feed_button":        {"the feed button is held%s", "Let the button go."},
	"printer_cutter_error":       {"the cutter is jammed%s", "Switch the printer off, take the stuck paper out and switch it on again."},
	"printer_head_hot":           {"the print head is hot%s", "Wait some minutes; it recovers by itself."},
	"printer_unrecoverable":      {"the printer has a fault it cannot mend%s", "Switch it off for ten seconds and on again. If it comes back, replace the printer."},
	"printer_waits_for_recovery": {"the printer waits after an error%s", "Press the feed button, or switch the printer off and on."},
	"print_confirmed":            {"the test was printed and the printer confirmed it", "Look at the paper: letters with accents, a full line without a break, a readable code, the cut. If letters are wrong, the profile ([printer] profile) belongs to another model."},
	"print_sent":                 {"the test was sent; this printer confirms nothing", "Look whether all of it is on the paper."},
	"print_failed":               {"the test was not confirmed: %s", "Look whether it is on the paper. If all of it is, the printer does not know the confirmation command (GS ( H): see the list of models in the README."},

	"display_ok":        {"screen of %d x %d; a code fits. See whether these signs are there: ▀▄█ ● ▲ × ã Ç õ", ""},
	"display_none":      {"no screen in the configuration", ""},
	"display_elsewhere": {"the agent's screen cannot be seen from here: %s", "Run doctor on the terminal itself, or name the console in [display] tty, such as /dev/tty1."},
	"display_unusable":  {"the screen cannot be used: %s", "See to [display] tty and, in the unit, TERM=linux and LC_ALL=C.UTF-8."},
	"display_colours":   {"the screen has fewer than 8 colours: no code can be shown", "Set TERM=linux on the console and take NO_COLOR out of the environment."},
	"display_small":     {"screen of %d x %d: long codes do not fit, and there is no printer", "Use a smaller font (setfont) or a larger screen: 100 x 30 or 60 x 50."},
	"display_paper":     {"screen of %d x %d: long codes do not fit and come on paper only", "Use a smaller font (setfont) or a larger screen: 100 x 30 or 60 x 50."},

	"menu_ok":  {"operator menu: %d operators", ""},
	"menu_off": {"operator menu off: there is no [[operator]]", ""},

	"network_ok":      {"address on the network: %s", ""},
	"network_none":    {"no network: no address", "See to cable, router, or SIM and antenna; then: ip address. The agent works without a network and sends everything when it is back."},
	"network_unknown": {"the network cannot be examined: %s", "Run doctor outside of the unit, as root."},

	"provider_ok":            {"%s answers and takes the credential", ""},
	"provider_secret_unseen": {"the credential of %s cannot be seen from here", "Run as root: CREDENTIALS_DIRECTORY=/etc/ssg-agent/secrets ssg-agent doctor --config FILE"},
	"provider_config":        {"%s cannot be used: %s", "See the problems: ssg-agent check --config FILE"},
	"provider_unasked":       {"%s cannot be asked without making a charge", ""},
	"provider_credentials":   {"%s refuses the credential: %s", "Compare client_id and the secret's file; if it was changed at the provider, store the new one and restart the agent."},
	"provider_forbidden":     {"%s does not allow the question: %s", "Ask the provider for the account's rights, and compare account and PIX key in the configuration."},
	"provider_busy":          {"%s wants fewer questions: %s", "Wait a minute; if it stays, lower requests_per_second."},
	"provider_operator":      {"%s needs something done: %s", "Compare url in the configuration and speak to the provider."},
	"provider_down":          {"%s has a problem: %s", "See the provider's status page. The agent tries again by itself."},
	"provider_unreachable":   {"%s cannot be reached: %s", "See to network, firewall and url in the configuration."},
	"provider_dns":           {"the address of %s is not found: %s", "See to network and DNS (resolvectl status), and url in the configuration."},

	"tls_time":        {"the certificate of %s is not valid at this clock's time: %s", "Wrong clock? See the line clock. If the clock is right, the certificate has expired: speak to who runs the server."},
	"tls_certificate": {"the certificate of %s is not accepted: %s", "Somebody in between (a proxy, a portal of the network)? Compare the address and, for the hub, [fleet] ca."},

	"broker_ok":          {"%s can be reached (only the agent proves the password)", ""},
	"broker_none":        {"no hub in the configuration", ""},
	"broker_config":      {"the link to the hub is configured wrongly: %s", "Correct the files in [fleet] and run: ssg-agent check --config FILE"},
	"broker_unreachable": {"%s cannot be reached: %s", "See to network, firewall (port 8883) and [fleet] brokers."},

	"facade_ok":          {"SSG façade at %s", ""},
	"facade_plain":       {"the SSG façade at %s speaks HTTP in the clear", "If the safes know TLS, set [facade] certificate and private_key; else keep them on a network of their own."},
	"facade_certificate": {"the façade's certificate cannot be used: %s", "Correct the files in [facade] and run: ssg-agent check --config FILE"},
	"facade_expired":     {"the façade's certificate expired on %s", "Install a new one; the agent uses it without a restart. If the date looks right, see the line clock."},
	"facade_expires":     {"the façade's certificate expires on %s", "Install a new one before that; the agent uses it without a restart."},
}
