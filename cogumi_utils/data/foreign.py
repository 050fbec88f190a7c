# ruff: noqa: E501
"""Short chats in eight languages other than English, written for this project: what a language filter has to find."""

from __future__ import annotations

CHATS: dict[str, tuple[tuple[str, str], ...]] = {
    "de": (
        ("Wie komme ich am schnellsten zum Bahnhof?", "Nehmen Sie die Straßenbahn Nummer vier, sie fährt alle zehn Minuten."),
        ("Kannst du mir ein einfaches Rezept für Kartoffelsuppe geben?", "Koche Kartoffeln und Möhren weich und püriere alles mit etwas Sahne."),
        ("Warum ist der Himmel am Abend rot?", "Das Licht legt einen längeren Weg zurück, und das Blau wird unterwegs gestreut."),
        ("Schreibe eine kurze Einladung zu meinem Geburtstag am Samstag.", "Liebe Freunde, ich lade euch am Samstag herzlich zu meiner Feier ein."),
        ("Welche Bücher sollte ich im Urlaub lesen?", "Nimm einen Krimi für den Strand und einen Reisebericht für den Abend mit."),
        ("Wie viele Äpfel bleiben übrig, wenn ich von neun drei esse?", "Es bleiben sechs Äpfel übrig."),
        ("Bitte schalte das Licht in der Küche aus.", "Das Licht in der Küche ist jetzt aus."),
    ),
    "fr": (
        ("Comment puis-je apprendre à jouer de la guitare tout seul ?", "Commencez par trois accords simples et jouez un quart d'heure chaque jour."),
        ("Quelle est la différence entre un lac et un étang ?", "Un étang est plus petit et moins profond qu'un lac."),
        ("Écris une lettre pour remercier ma voisine.", "Chère voisine, merci beaucoup d'avoir gardé notre chat pendant les vacances."),
        ("Pourquoi les feuilles tombent-elles en automne ?", "Les arbres économisent l'eau et l'énergie pour passer l'hiver."),
        ("Combien de jours y a-t-il dans une année bissextile ?", "Il y a trois cent soixante-six jours."),
        ("Peux-tu fermer la porte du garage s'il te plaît ?", "La porte du garage est fermée."),
        ("Quels vêtements dois-je emporter à la montagne ?", "Prenez une veste chaude, de bonnes chaussures et un bonnet."),
    ),
    "es": (
        ("¿Cuál es la mejor manera de ahorrar dinero cada mes?", "Aparta una cantidad fija el mismo día en que recibes el sueldo."),
        ("¿Por qué flotan los barcos si son de hierro?", "Porque desplazan una cantidad de agua que pesa más que ellos."),
        ("Escribe un poema corto sobre la lluvia.", "La lluvia canta en el tejado y despierta al jardín dormido."),
        ("¿Cuántas sillas hay en tres filas de ocho?", "Hay veinticuatro sillas en total."),
        ("Pon música tranquila en el salón, por favor.", "Ya suena música tranquila en el salón."),
        ("¿Qué puedo cocinar esta noche con arroz y tomates?", "Puedes preparar un arroz con tomate, ajo y un poco de aceite."),
        ("¿Dónde se encuentra el desierto más seco del mundo?", "El desierto más seco está en el norte de Chile."),
    ),
    "it": (
        ("Come si prepara un buon caffè con la moka?", "Riempi la base d'acqua, aggiungi il caffè senza pressarlo e usa il fuoco basso."),
        ("Quali sono le città più belle della Toscana?", "Firenze, Siena e Lucca meritano tutte una visita."),
        ("Perché il mare è salato?", "I fiumi portano al mare i sali sciolti dalle rocce."),
        ("Scrivi un messaggio di auguri per mia sorella.", "Cara sorella, ti auguro un anno pieno di gioia e di sorprese."),
        ("Quante uova servono per una torta per otto persone?", "Di solito bastano quattro uova."),
        ("Ricordami domani mattina di chiamare il medico.", "Va bene, domani mattina ti ricorderò di chiamare il medico."),
        ("Che cosa posso regalare a mio padre che ama la pesca?", "Una canna leggera o un libro sui pesci di fiume."),
    ),
    "pt": (
        ("Qual é a melhor época do ano para visitar o litoral?", "Entre setembro e novembro chove pouco e há menos turistas."),
        ("Como posso tirar uma mancha de vinho da camisa?", "Cubra a mancha com sal e lave depois com água fria."),
        ("Por que as estrelas parecem piscar à noite?", "O ar em movimento desvia a luz antes de ela chegar aos nossos olhos."),
        ("Escreva uma mensagem para avisar que vou chegar atrasado.", "Olá, o trânsito está parado e vou chegar uns vinte minutos atrasado."),
        ("Quantos minutos há em duas horas e meia?", "Há cento e cinquenta minutos."),
        ("Por favor, apague a luz do corredor e feche a janela.", "A luz está apagada e a janela está fechada."),
        ("O que devo levar para um piquenique com crianças?", "Leve frutas, sanduíches, água e uma bola."),
    ),
    "nl": (
        ("Hoe lang moet ik een ei koken als ik het zacht wil hebben?", "Kook het ei vijf minuten en spoel het daarna af met koud water."),
        ("Waarom vliegen vogels in de winter naar het zuiden?", "Daar vinden ze meer voedsel en is het minder koud."),
        ("Schrijf een korte brief aan de gemeente over de kapotte lamp.", "Geachte gemeente, de lamp in onze straat brandt al twee weken niet meer."),
        ("Welke planten groeien goed op een balkon zonder zon?", "Varens en klimop groeien goed in de schaduw."),
        ("Hoeveel kost het als ik vier kaartjes van zeven euro koop?", "Dat kost samen achtentwintig euro."),
        ("Zet de verwarming in de slaapkamer wat lager.", "De verwarming in de slaapkamer staat nu lager."),
        ("Wat is het verschil tussen een schildpad en een hagedis?", "Een schildpad heeft een schild en een hagedis niet."),
    ),
    "sv": (
        ("Hur lagar man köttbullar som blir riktigt saftiga?", "Blanda lite grädde i färsen och stek dem på svag värme."),
        ("Varför är det ljust på natten i norr om sommaren?", "Jorden lutar, så solen går aldrig ner där mitt i sommaren."),
        ("Skriv ett kort tackbrev till min lärare.", "Tack för att du alltid hade tid och förklarade så tålmodigt."),
        ("Vilken buss ska jag ta till sjukhuset?", "Ta buss nummer tolv från torget."),
        ("Hur många veckor är det kvar till jul?", "Det är ungefär sex veckor kvar till jul."),
        ("Påminn mig om att vattna blommorna på fredag.", "Jag påminner dig på fredag om att vattna blommorna."),
    ),
    "ru": (
        ("Как быстро выучить таблицу умножения?", "Учите по одному ряду в день и повторяйте его вечером вслух."),
        ("Почему зимой идёт снег, а не дождь?", "Потому что капли замерзают в холодном воздухе."),
        ("Напиши короткое поздравление с днём рождения для друга.", "Дорогой друг, желаю тебе здоровья, радости и хороших новостей."),
        ("Сколько яблок останется, если из десяти съесть четыре?", "Останется шесть яблок."),
        ("Выключи, пожалуйста, музыку в гостиной.", "Музыка в гостиной выключена."),
        ("Какую книгу подарить девочке десяти лет?", "Подойдёт книга сказок с хорошими рисунками."),
    ),
}  # fmt: skip
